// Package report keeps the figures of a run of the benchmark, and shows them beside those of an earlier one: as a table, as JSON
// and as a chart.
package report

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Kind says what a figure is, and so how far it can be trusted on a machine that does other things as well.
type Kind string

// The kinds of figures.
const (
	// Number is a count or a size, which does not depend on the machine's speed but for what is coalesced.
	Number Kind = "number"
	// Time is a duration, a rate or CPU time.
	Time Kind = "time"
	// Request is how often a kind of request was sent, for each Workflow.
	Request Kind = "request"
	// Process is what a process used.
	Process Kind = "process"
)

// Figure is one result. Its name is the same in each run: "<scenario>.<what>".
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Kind  Kind    `json:"kind"`
}

// Scenario returns the part of the name before its first dot, and the rest.
func (f Figure) Scenario() (scenario, what string) {
	scenario, what, _ = strings.Cut(f.Name, ".")
	return scenario, what
}

// Series is a figure over time: one value for each second from a scenario's begin.
type Series struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Values []float64 `json:"values"`
}

// Run is all that one run has found.
type Run struct {
	// About says what was measured where: the revision, the machine, the options.
	About   map[string]string `json:"about"`
	Figures []Figure          `json:"figures"`
	Series  []Series          `json:"series"`
}

// Add adds a figure, or replaces the one of its name.
func (r *Run) Add(f Figure) {
	if i := slices.IndexFunc(r.Figures, func(other Figure) bool { return other.Name == f.Name }); i >= 0 {
		r.Figures[i] = f
		return
	}
	r.Figures = append(r.Figures, f)
}

// Value returns the value of the figure of that name, and whether the run has it. A nil Run has none.
func (r *Run) Value(name string) (float64, bool) {
	if r == nil {
		return 0, false
	}
	for _, f := range r.Figures {
		if f.Name == name {
			return f.Value, true
		}
	}
	return 0, false
}

// Scenarios lists the scenarios in the order in which they were run.
func (r *Run) Scenarios() []string {
	var names []string
	for _, f := range r.Figures {
		if name, _ := f.Scenario(); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Save writes the run to a file.
func (r *Run) Save(path string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the figures: %w", err)
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644)
}

// Load reads a run that was saved.
func Load(path string) (*Run, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &Run{}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("read the figures in %s: %w", path, err)
	}
	return r, nil
}
