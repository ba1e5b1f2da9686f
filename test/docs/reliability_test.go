package docs_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/test/docs"
)

func TestEachPromiseNamesTestsThatAreThere(t *testing.T) {
	root := filepath.Join("..", "..")
	promises, err := docs.Table(filepath.Join(root, "docs", "reliability.md"), "What is promised")
	require.NoError(t, err)
	require.NotEmpty(t, promises)
	for _, promise := range promises {
		require.Len(t, promise, 3, promise)
		tests := regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(promise[2], -1)
		assert.True(t, len(tests) > 0 || strings.Contains(promise[2], "chaos suite"), "how is it tested? %s", promise[0])
		for _, path := range tests {
			found, err := filepath.Glob(filepath.Join(root, path[1]))
			require.NoError(t, err)
			assert.NotEmpty(t, found, "%s names %s", promise[0], path[1])
		}
	}
}
