package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/test/docs"
)

func TestEachClaimOfSecurityNamesTestsThatAreThere(t *testing.T) {
	root := filepath.Join("..", "..")
	there := testsIn(t, root)
	for _, heading := range []string{
		"A hostile user of the hub", "A hostile managed cluster, or its agent", "A user of a managed cluster", "A hostile hub manager",
	} {
		claims, err := docs.Table(filepath.Join(root, "docs", "security.md"), heading)
		require.NoError(t, err)
		require.NotEmpty(t, claims, heading)
		for _, claim := range claims {
			require.Len(t, claim, 3, claim)
			named := regexp.MustCompile("`(Test[^`]*)`").FindAllStringSubmatch(claim[2], -1)
			assert.NotEmpty(t, named, "no test shows it: %s", claim[0])
			for _, test := range named {
				assert.True(t, there[test[1]], "%s names %s, which is not there", claim[0], test[1])
			}
		}
	}
}

// testsIn returns the names of all tests in the files of the project.
func testsIn(t *testing.T, root string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, dir := range []string{"cmd", "pkg", "test"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, dir), func(path string, _ os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, found := range function.FindAllStringSubmatch(string(text), -1) {
				names[found[1]] = true
			}
			return err
		}))
	}
	return names
}
