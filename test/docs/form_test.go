package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// maxCell is how many characters a cell of a table may have, with the markup of links: longer ones are hard to read.
const maxCell = 200

func TestCellsOfTablesAreShort(t *testing.T) {
	cells := 0
	require.NoError(t, filepath.WalkDir(filepath.Join("..", "..", "docs"), func(page string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(page) != ".md" {
			return err
		}
		for number, line := range prose(t, page) {
			if !strings.HasPrefix(line, "|") {
				continue
			}
			for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
				cells++
				length := utf8.RuneCountInString(strings.TrimSpace(cell))
				assert.LessOrEqual(t, length, maxCell, "%s:%d: %s", page, number, cell)
			}
		}
		return nil
	}))
	assert.Greater(t, cells, 1000)
}

func TestEachDecisionHasADateAndAStatus(t *testing.T) {
	decisions, err := filepath.Glob(filepath.Join("..", "..", "docs", "decisions", "*.md"))
	require.NoError(t, err)
	require.NotEmpty(t, decisions)
	head := regexp.MustCompile(`\A# \d+\. .+\n\n` +
		`- Date: \d{4}-\d\d-\d\d(, changed \d{4}-\d\d-\d\d)?\n` +
		`- Status: (Accepted|Superseded by \[\d+\]\(.+\.md\))\n\n`)
	for _, decision := range decisions {
		text, err := os.ReadFile(decision)
		require.NoError(t, err)
		assert.Regexp(t, head, string(text), decision)
	}
}
