package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	// link is what a Markdown link leads to. An image is one, too.
	link = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	// anywhere begins what leads out of the repository.
	anywhere = regexp.MustCompile(`^[a-z]+:`)
	// inLink is a link within a heading, of which only the text shows.
	inLink = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

func TestEachLinkOfThePagesLeadsSomewhere(t *testing.T) {
	root := filepath.Join("..", "..")
	pages := pages(t, root)
	require.Greater(t, len(pages), 10)
	for _, page := range pages {
		for number, line := range prose(t, page) {
			for _, found := range link.FindAllStringSubmatch(line, -1) {
				if anywhere.MatchString(found[1]) {
					continue
				}
				path, anchor, hasAnchor := strings.Cut(found[1], "#")
				target := page
				if path != "" {
					target = filepath.Join(filepath.Dir(page), path)
				}
				if _, err := os.Stat(target); !assert.NoError(t, err, "%s:%d leads to %s", page, number, found[1]) {
					continue
				}
				if hasAnchor {
					assert.Contains(t, anchors(t, target), anchor, "%s:%d leads to %s", page, number, found[1])
				}
			}
		}
	}
}

func TestAnchorsAreThoseThatAHostOfMarkdownMakes(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "page.md")
	const page = "# One run, of `argo-server` (2)\n\n```sh\n# no heading\n```\n\n## Argo's [CRDs](crds.md)\n\n## Same\n\n### Same\n"
	require.NoError(t, os.WriteFile(file, []byte(page), 0o600))
	assert.Equal(t, []string{"one-run-of-argo-server-2", "argos-crds", "same", "same-1"}, anchors(t, file))
}

// pages returns the Markdown files that people read.
func pages(t *testing.T, root string) []string {
	t.Helper()
	var found []string
	for _, dir := range []string{"docs", "charts", "example"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, dir), func(path string, _ fs.DirEntry, err error) error {
			if filepath.Ext(path) == ".md" {
				found = append(found, path)
			}
			return err
		}))
	}
	atTop, err := filepath.Glob(filepath.Join(root, "*.md"))
	require.NoError(t, err)
	return append(found, atTop...)
}

// prose returns the lines of a page that are not code, by their number.
func prose(t *testing.T, page string) map[int]string {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	lines, isCode := map[int]string{}, false
	for i, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			isCode = !isCode
		} else if !isCode {
			lines[i+1] = line
		}
	}
	return lines
}

// anchors returns those of the headings of a page: in lower case, without punctuation, with hyphens for spaces, and a number where there
// was the same before.
func anchors(t *testing.T, page string) []string {
	t.Helper()
	var all []string
	seen, lines := map[string]int{}, prose(t, page)
	last := 0
	for number := range lines {
		last = max(last, number)
	}
	for number := range last + 1 {
		marks, heading, is := strings.Cut(lines[number], " ")
		if !is || marks == "" || strings.Trim(marks, "#") != "" {
			continue
		}
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, inLink.ReplaceAllString(heading, "$1"))
		if seen[anchor]++; seen[anchor] > 1 {
			anchor += "-" + strconv.Itoa(seen[anchor]-1)
		}
		all = append(all, anchor)
	}
	return all
}
