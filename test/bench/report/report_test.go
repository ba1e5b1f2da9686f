package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func run(writes float64) *Run {
	r := &Run{About: map[string]string{"revision": "abc"}}
	r.Add(Figure{Name: "burst.hub_writes", Value: writes, Unit: "per Workflow", Kind: Number})
	r.Add(Figure{Name: "burst.request manager patch workflows", Value: writes / 2, Unit: "per Workflow", Kind: Request})
	r.Add(Figure{Name: "burst.request manager get secrets", Value: 0.01, Unit: "per Workflow", Kind: Request})
	r.Series = []Series{{Name: "burst.decisions", Unit: "1/s", Values: []float64{1, 3, 2}}}
	return r
}

func TestARunIsTheSameAfterItWasSavedAndLoaded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bench.json")
	require.NoError(t, run(8).Save(path))
	loaded, err := Load(path)
	require.NoError(t, err)
	assert.Equal(t, run(8), loaded)
}

func TestAFigureThatIsAddedAgainReplacesTheFirst(t *testing.T) {
	r := run(8)
	r.Add(Figure{Name: "burst.hub_writes", Value: 7})
	value, ok := r.Value("burst.hub_writes")
	assert.True(t, ok)
	assert.InDelta(t, 7, value, 0)
	assert.Len(t, r.Figures, 3)
}

func TestTheTableShowsAnEarlierRunBesideThisOne(t *testing.T) {
	before := run(14.3)
	before.Add(Figure{Name: "burst.request manager create manifestworks", Value: 1, Kind: Request})
	var out strings.Builder
	require.NoError(t, run(8).Print(&out, before))
	assert.Regexp(t, `14\.3 +8 +per Workflow +hub_writes`, out.String())
	assert.NotContains(t, out.String(), "secrets", "it hardly counts")
	assert.Contains(t, out.String(), "only before: request manager create manifestworks 1")
}

func TestTheChartHasABarForEachRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bench.svg")
	panels := []Panel{{Title: "Writes <hub>", What: "hub_writes", Scenarios: []string{"burst", "not-run"}}}
	require.NoError(t, run(8).Chart(path, run(14.3), panels))
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	text := string(raw)
	assert.Contains(t, text, "Writes &lt;hub&gt;")
	assert.Contains(t, text, ">14.3</text>")
	assert.Contains(t, text, ">8</text>")
	assert.Equal(t, 2, strings.Count(text, "<polyline"))
}
