// Package verbs is the table of what users do to Workflows: the end-to-end test does each of it, and docs/verbs.md shows it.
package verbs

import (
	"fmt"
	"strings"
)

// Verb is something that users do to a Workflow, with programs that speak to the hub or to the cluster.
type Verb struct {
	// Done says what is done, with each command between backticks.
	Done string
	On   Workflow
	Do   []Step
	// Happens says what comes of it before the Workflow ends.
	Happens string
	// Want is the phase in which the Workflow ends, and Pods how many pods have run: more than it has nodes where some ran again.
	Want string
	Pods int
}

// Workflow is one to which verbs are done: its spec as YAML, and what of it matters.
type Workflow struct{ Words, Spec string }

// Step is one command. {} stands for the Workflow's name; its namespace follows.
type Step struct {
	// When is when it is time for it.
	When Moment
	Do   string
	// Fails is whether the program itself refuses to do it.
	Fails bool
}

// Moment is one in the life of a Workflow: it is there when all is as its fields say. Those that are not set do not matter.
type Moment struct {
	// Pods is how many nodes of the Workflow are pods, and Gates how many are there for users to go on.
	Pods, Gates int
	// Suspended is whether the cluster knows that the Workflow is.
	Suspended bool
	// Over is a node that has ended.
	Over string
	// Set is a node one of whose outputs is Value.
	Set, Value string
	// Phase is that of the Workflow, and Ran how many pods have run.
	Phase string
	Ran   int
}

// Moments that several steps wait for.
var (
	Runs        = Moment{Pods: 1}
	Waits       = Moment{Gates: 3}
	IsSuspended = Moment{Suspended: true}
	Failed      = Moment{Phase: "Failed"}
	Succeeded   = Moment{Phase: "Succeeded"}
)

// Name returns what is done, as the name of a test.
func (v Verb) Name() string { return strings.ReplaceAll(v.Done, "`", "") }

// ByArgo tells whether all of it is done with argo, and so by an argo-server's REST calls, too.
func (v Verb) ByArgo() bool {
	for _, step := range v.Do {
		if !strings.HasPrefix(step.Do, "argo ") {
			return false
		}
	}
	return true
}

// Words returns those of a command in which {} stands for the Workflow's name.
func Words(command, name string) []string {
	return strings.Fields(strings.Replace(command, "{}", name, 1))
}

// Table shows verbs as Markdown.
func Table(verbs []Verb) string {
	var text strings.Builder
	text.WriteString("| what is done | on what | what happens |\n|---|---|---|\n")
	for _, v := range verbs {
		fmt.Fprintf(&text, "| %s | %s | %s |\n", v.Done, v.On.Words, v.Happens+" "+v.end())
	}
	return text.String()
}

func (v Verb) end() string {
	switch end := fmt.Sprintf("It ends as `%s`", v.Want); v.Pods {
	case 0:
		return end + "."
	case 1:
		return end + ". 1 pod ran."
	default:
		return fmt.Sprintf("%s. %d pods ran.", end, v.Pods)
	}
}
