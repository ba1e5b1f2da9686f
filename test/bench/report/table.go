package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Print shows the run's figures, scenario by scenario, beside those of an earlier run if there is one. Requests and processes come
// last in each, those that hardly count left out: the JSON has all of them.
func (r *Run) Print(out io.Writer, before *Run) error {
	for _, scenario := range r.Scenarios() {
		if err := r.printScenario(out, before, scenario); err != nil {
			return err
		}
	}
	return nil
}

func (r *Run) printScenario(out io.Writer, before *Run, scenario string) error {
	fmt.Fprintf(out, "\n%s\n", scenario)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	if before != nil {
		fmt.Fprintln(table, "before\tnow\tunit\t \t")
	}
	for _, kind := range []Kind{Number, Time, Request, Process} {
		for _, f := range r.Figures {
			name, what := f.Scenario()
			if name != scenario || f.Kind != kind || isNegligible(f) {
				continue
			}
			fmt.Fprintf(table, "%s%s\t%s\t  %s\t\n", earlier(before, f), number(f.Value), f.Unit, pad(what))
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if gone := missing(r, before, scenario); len(gone) > 0 {
		fmt.Fprintf(out, "  only before: %s\n", strings.Join(gone, ", "))
	}
	return nil
}

// pad makes the last column left-aligned among those that are aligned to the right.
func pad(text string) string { return fmt.Sprintf("%-*s", nameWidth, text) }

// nameWidth is that of the longest name that is common.
const nameWidth = 64

func earlier(before *Run, f Figure) string {
	if before == nil {
		return ""
	}
	value, ok := before.Value(f.Name)
	if !ok {
		return "-\t"
	}
	return number(value) + "\t"
}

// missing lists the requests that an earlier run has and this one has not.
func missing(now, before *Run, scenario string) []string {
	if before == nil {
		return nil
	}
	var names []string
	for _, f := range before.Figures {
		name, what := f.Scenario()
		if _, ok := now.Value(f.Name); !ok && name == scenario && f.Kind == Request && !isNegligible(f) {
			names = append(names, what+" "+number(f.Value))
		}
	}
	slices.Sort(names)
	return names
}

// isNegligible reports whether a figure is only in the JSON.
func isNegligible(f Figure) bool {
	switch f.Kind {
	case Request:
		return f.Value < 0.05
	case Process:
		return strings.HasSuffix(f.Name, ".cpu") && f.Value < 0.5 || strings.HasSuffix(f.Name, ".peak") && f.Value < 150
	}
	return false
}

// number writes a value with some three digits.
func number(value float64) string {
	switch size := max(value, -value); {
	case size >= 100 || value == float64(int64(value)):
		return fmt.Sprintf("%.0f", value)
	case size >= 10:
		return fmt.Sprintf("%.1f", value)
	}
	return fmt.Sprintf("%.2f", value)
}
