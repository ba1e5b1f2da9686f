package verbs

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/test/docs"
)

const guide = "../../../docs/verbs.md"

// TestTheVerbsTriedAreDocumented compares the documentation with the table, or with UPDATE_DOCS=1 writes it.
func TestTheVerbsTriedAreDocumented(t *testing.T) {
	if os.Getenv("UPDATE_DOCS") != "" {
		require.NoError(t, docs.SetBlock(guide, "verbs tried", Table(All)))
	}
	documented, err := docs.Block(guide, "verbs tried")
	require.NoError(t, err)
	assert.Equal(t, Table(All), documented, "make generate writes it anew")
}

func TestEachRowNamesItsCommandsAndIsShort(t *testing.T) {
	t.Parallel()
	for line := range strings.Lines(Table(All)) {
		assert.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSpace(line)), 200, line)
	}
	for _, v := range All {
		for _, step := range v.Do {
			words := Words(step.Do, "any")
			command := strings.Join(words[:2], " ")
			if words[1] == "node" {
				command += " " + words[2]
			}
			assert.Regexp(t, "`"+command+"[ `]", v.Done, step.Do)
		}
	}
}

func TestOnlyWhatIsDoneWithArgoIsDoneThroughAServer(t *testing.T) {
	t.Parallel()
	byArgo, byOthers := Step{Do: "argo stop {}"}, Step{Do: "kubectl patch workflow {}"}
	assert.True(t, Verb{Do: []Step{byArgo, byArgo}}.ByArgo())
	assert.False(t, Verb{Do: []Step{byArgo, byOthers}}.ByArgo())
	assert.Equal(t, []string{"argo", "stop", "any"}, Words(byArgo.Do, "any"))
}
