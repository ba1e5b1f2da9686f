// Package edits tells what a user has done to the status of a hub Workflow. Argo's clients do their verbs by changing the status, and
// write back the whole Workflow, normalised and without fields that they do not know: so what was done is told by its shape, and nothing
// else of what was written is followed.
package edits

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/api/equality"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/report"
)

// Found is what a user has done at once. It is nothing if neither is there.
type Found struct {
	// Nodes are the Suspend nodes that were resumed, stopped or set, by their ids.
	Nodes []v1alpha1.NodeEdit
	// Outputs are the output parameters of the Workflow that were set with those of the nodes.
	Outputs []v1alpha1.Parameter
	// Retry is without digest and parameters, which the status does not say.
	Retry *v1alpha1.Retry
}

// IsNothing reports whether nothing was done.
func (f Found) IsNothing() bool { return len(f.Nodes) == 0 && f.Retry == nil }

// ErrOutdated says that the hub Workflow showed an older report when it was edited.
var ErrOutdated = errors.New("the Workflow has changed meanwhile: look at it again, and repeat the command if it is still wanted")

// oneAtATime bounds how much memory comparisons take.
var oneAtATime sync.Mutex

// Of returns what a user has done who has made the status shown, which the hub has written, into the one that is edited. If shown is not
// exactly what the user saw, because the cluster has reported something new since, then only what was done to nodes that still wait can be
// told; ErrOutdated says that there is nothing of that. The error is for the user.
func Of(shown, edited map[string]any, isExact bool) (Found, error) {
	oneAtATime.Lock()
	defer oneAtATime.Unlock()
	if err := report.CheckStatus(edited); err != nil {
		return Found{}, fmt.Errorf("the status is none that Argo's clients can read: %w", err)
	}
	before, releaseBefore, err := report.Nodes(shown)
	defer releaseBefore()
	if err != nil {
		return Found{}, fmt.Errorf("what is shown of the Workflow's nodes cannot be changed: %w", err)
	}
	after, releaseAfter, err := report.Nodes(edited)
	defer releaseAfter()
	if err != nil {
		return Found{}, fmt.Errorf("the nodes cannot be read: %w", err)
	}
	was, is, err := decodeBoth[wfv1.WorkflowStatus](withoutNodes(shown), withoutNodes(edited))
	if err != nil {
		return Found{}, err
	}
	d := diff{before: before, after: after, was: was, is: is, isExact: isExact}
	if was.Fulfilled() && !is.Fulfilled() {
		return d.retried()
	}
	return d.resolved()
}

// diff is a status before and after an edit.
type diff struct {
	before, after map[string]any
	// was and is are the rest of it.
	was, is wfv1.WorkflowStatus
	isExact bool
}

func notAVerb(format string, args ...any) error {
	return fmt.Errorf("the change of the status is none that argo makes: "+format, args...)
}

// resolved returns the nodes that do not wait any more, or have got a message or values.
func (d diff) resolved() (Found, error) {
	var found Found
	globals := map[string]string{}
	for _, id := range slices.Sorted(maps.Keys(d.before)) {
		was, is, isChanged, err := d.node(id)
		var edit *v1alpha1.NodeEdit
		if err == nil && isChanged {
			edit, err = d.resolution(was, is)
		}
		switch {
		case err != nil && (d.isExact || isTooLate(was, is)):
			return Found{}, err
		case err != nil || edit == nil:
			continue // nothing was done to it, or the cluster has gone on
		}
		found.Nodes = append(found.Nodes, *edit)
		for _, p := range parametersOf(is.Outputs) {
			if p.GlobalName != "" && p.Value != nil {
				globals[p.GlobalName] = p.Value.String()
			}
		}
	}
	found.Outputs = named(parametersOf(d.is.Outputs), globals)
	switch {
	case d.isExact:
		return found, d.otherwiseSame(globals)
	case found.IsNothing():
		return found, ErrOutdated
	}
	return found, nil
}

// named returns those parameters, each once, that have the value of their name.
func named(parameters []wfv1.Parameter, values map[string]string) []v1alpha1.Parameter {
	var out []v1alpha1.Parameter
	for _, p := range parameters {
		isKnown := slices.ContainsFunc(out, func(known v1alpha1.Parameter) bool { return known.Name == p.Name })
		if value, ok := values[p.Name]; ok && !isKnown && p.Value != nil && p.Value.String() == value {
			out = append(out, v1alpha1.Parameter{Name: p.Name, Value: &value})
		}
	}
	return out
}

// resolution returns what was done to a node, nil if it may be the cluster that has.
func (d diff) resolution(was, is wfv1.NodeStatus) (*v1alpha1.NodeEdit, error) {
	edit, err := resolution(was, is)
	if err != nil || !d.isExact && edit.Phase == string(wfv1.NodeRunning) && len(edit.Parameters) == 0 {
		return nil, err
	}
	return &edit, nil
}

// isTooLate reports whether a user has ended a node that has ended otherwise meanwhile, or given it a value where it has another.
func isTooLate(was, is wfv1.NodeStatus) bool {
	if was.Type != wfv1.NodeTypeSuspend {
		return false
	}
	for i, p := range parametersOf(was.Outputs) {
		given := parametersOf(is.Outputs)
		if i < len(given) && p.Value != nil && given[i].Value != nil && *p.Value != *given[i].Value {
			return true
		}
	}
	return was.Fulfilled() && is.Fulfilled() && was.Phase != is.Phase
}

// node returns a node before and after, and whether it has changed.
func (d diff) node(id string) (was, is wfv1.NodeStatus, isChanged bool, err error) {
	after, kept := d.after[id]
	if !kept {
		return was, is, false, notAVerb("node %s is gone", id)
	}
	if reflect.DeepEqual(d.before[id], after) {
		return was, is, false, nil
	}
	was, is, err = decodeBoth[wfv1.NodeStatus](d.before[id], after)
	return was, is, !equality.Semantic.DeepEqual(was, is), err
}

// otherwiseSame returns an error if anything has changed but nodes, and the outputs of the Workflow that go with them.
func (d diff) otherwiseSame(globals map[string]string) error {
	if err := d.noneAdded(); err != nil {
		return err
	}
	was, is := d.was, d.is
	was.Outputs, is.Outputs = withoutGlobals(was.Outputs, globals, false), withoutGlobals(is.Outputs, globals, true)
	return sameRest(was, is)
}

func (d diff) noneAdded() error {
	for _, id := range slices.Sorted(maps.Keys(d.after)) {
		if _, known := d.before[id]; !known {
			return notAVerb("node %.64s was added", id)
		}
	}
	return nil
}

func sameRest(was, is wfv1.WorkflowStatus) error {
	if equality.Semantic.DeepEqual(was, is) {
		return nil
	}
	a, b := reflect.ValueOf(was), reflect.ValueOf(is)
	for i := range a.NumField() {
		if !equality.Semantic.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			return notAVerb("field status.%s is another one", fieldName(a.Type().Field(i)))
		}
	}
	return notAVerb("it is another one")
}

// withoutGlobals returns outputs without the parameters of these names; those that have another value stay, if the value counts.
func withoutGlobals(outputs *wfv1.Outputs, globals map[string]string, valueCounts bool) *wfv1.Outputs {
	if outputs == nil {
		return &wfv1.Outputs{}
	}
	out := outputs.DeepCopy()
	out.Parameters = slices.DeleteFunc(out.Parameters, func(p wfv1.Parameter) bool {
		value, named := globals[p.Name]
		return named && (!valueCounts || p.Value != nil && p.Value.String() == value)
	})
	return out
}

// resolution returns what was done to a node that waited.
func resolution(was, is wfv1.NodeStatus) (v1alpha1.NodeEdit, error) {
	edit := v1alpha1.NodeEdit{ID: was.ID, Phase: string(is.Phase), Message: is.Message}
	switch is.Phase {
	case wfv1.NodeRunning, wfv1.NodeSucceeded, wfv1.NodeFailed, wfv1.NodeError:
	default:
		return edit, notAVerb("phase %.32q of node %s", is.Phase, was.ID)
	}
	switch {
	case was.Type != wfv1.NodeTypeSuspend || was.Phase != wfv1.NodeRunning:
		return edit, fmt.Errorf("node %s (%s) does not wait for anybody, it is %s: only Suspend nodes that run can be changed", was.ID,
			was.DisplayName, was.Phase)
	case is.FinishedAt.IsZero() != (is.Phase == wfv1.NodeRunning):
		return edit, notAVerb("node %s is %s, and the time of its end does not fit that", was.ID, is.Phase)
	}
	var err error
	if edit.Parameters, err = supplied(parametersOf(was.Outputs), parametersOf(is.Outputs)); err != nil {
		return edit, notAVerb("node %s: %w", was.ID, err)
	}
	rest := is.DeepCopy()
	rest.Phase, rest.Message, rest.FinishedAt = was.Phase, was.Message, was.FinishedAt
	if len(edit.Parameters) > 0 {
		rest.Outputs.Parameters = was.Outputs.Parameters
	}
	if !equality.Semantic.DeepEqual(was, *rest) {
		return edit, notAVerb("node %s has changed in more than phase, message and outputs", was.ID)
	}
	return edit, nil
}

// supplied returns the parameters that have got the value that they waited for.
func supplied(was, is []wfv1.Parameter) ([]v1alpha1.Parameter, error) {
	if len(was) != len(is) {
		return nil, errors.New("it has other output parameters")
	}
	var values []v1alpha1.Parameter
	for i := range was {
		if equality.Semantic.DeepEqual(was[i], is[i]) {
			continue
		}
		waits := was[i].ValueFrom != nil && was[i].ValueFrom.Supplied != nil
		expected := was[i].DeepCopy()
		expected.Value, expected.ValueFrom = is[i].Value, nil
		if !waits || is[i].Value == nil || !equality.Semantic.DeepEqual(*expected, is[i]) {
			return nil, fmt.Errorf("output parameter %s does not wait for a value, or has got something else", was[i].Name)
		}
		value := is[i].Value.String()
		values = append(values, v1alpha1.Parameter{Name: is[i].Name, Value: &value})
	}
	return values, nil
}

func parametersOf(outputs *wfv1.Outputs) []wfv1.Parameter {
	if outputs == nil {
		return nil
	}
	return outputs.Parameters
}

// decodeBoth decodes two JSON values.
func decodeBoth[T any](was, is any) (before, after T, err error) {
	if before, err = decode[T](was); err != nil {
		return before, after, err
	}
	after, err = decode[T](is)
	return before, after, err
}

func decode[T any](value any) (T, error) {
	var out T
	raw, err := json.Marshal(value)
	if err != nil {
		return out, fmt.Errorf("encode: %w", err)
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return out, fmt.Errorf("the status is none that Argo's clients can read: %w", err)
	}
	return out, nil
}

func withoutNodes(status map[string]any) map[string]any {
	out := maps.Clone(status)
	delete(out, contract.FieldNodes)
	delete(out, contract.FieldCompressedNodes)
	return out
}
