package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/test/docs"
)

// eventReasons are the ways in which the source names the reason of an Event.
var eventReasons = []*regexp.Regexp{
	regexp.MustCompile(`(?m)^(?:const|\t)\s*reason[A-Z]\w*\s+= "(\w+)"`),
	regexp.MustCompile(`pending\(v1alpha1\.Reason(\w+)`),
	regexp.MustCompile(`problem\("[^"]+", "(\w+)"`),
	regexp.MustCompile(`(?m)^\s+Refused[A-Z]\w*\s+= "(\w+)"`),
	regexp.MustCompile(`EventType(?:Normal|Warning), "(\w+)"`),
}

// hubReasons is another, of the hub's reconcilers. Elsewhere such names are those of conditions.
var hubReasons = regexp.MustCompile(`(?m)^(?:const |\t)Reason[A-Z]\w*\s+= "(\w+)"`)

func TestEveryEventIsInTheTableOfEvents(t *testing.T) {
	rows, err := docs.Table("../../docs/status.md", "Events")
	require.NoError(t, err)
	told := map[string]bool{}
	for _, row := range rows {
		for _, reason := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[0], -1) {
			told[reason[1]] = true
		}
	}
	said := map[string]bool{}
	require.NoError(t, filepath.WalkDir("../../pkg", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		ways := eventReasons
		if strings.Contains(path, "/hub/") {
			ways = append(slices.Clone(ways), hubReasons)
		}
		for _, names := range ways {
			for _, reason := range names.FindAllSubmatch(source, -1) {
				said[string(reason[1])] = true
			}
		}
		return err
	}))
	for reason := range said {
		assert.True(t, told[reason], "docs/status.md does not say what Event %s means", reason)
	}
	for reason := range told {
		assert.True(t, said[reason], "docs/status.md has an Event %s that nobody tells", reason)
	}
}
