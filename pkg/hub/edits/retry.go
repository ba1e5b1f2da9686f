package edits

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
)

// groups are the types of nodes that contain others: a retry resets those that it goes on with.
var groups = []wfv1.NodeType{
	wfv1.NodeTypeDAG, wfv1.NodeTypeSteps, wfv1.NodeTypeStepGroup, wfv1.NodeTypeTaskGroup, wfv1.NodeTypeRetry,
}

// retried returns what of a finished Workflow runs again.
func (d diff) retried() (Found, error) {
	if !d.isExact {
		return Found{Retry: &v1alpha1.Retry{}}, ErrOutdated
	}
	if err := d.noneAdded(); err != nil {
		return Found{}, err
	}
	if d.is.Phase != "" && d.is.Phase != wfv1.WorkflowRunning {
		return Found{}, notAVerb("a Workflow that has finished becomes %.32s", d.is.Phase)
	}
	retry := &v1alpha1.Retry{}
	removed := map[string]bool{}
	for _, id := range slices.Sorted(maps.Keys(d.before)) {
		if _, kept := d.after[id]; !kept {
			removed[id] = true
			retry.RemovedNodes = append(retry.RemovedNodes, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(d.before)) {
		isReset, err := d.retriedNode(id, removed)
		switch {
		case err != nil:
			return Found{}, err
		case isReset:
			retry.ResetNodes = append(retry.ResetNodes, id)
		}
	}
	return Found{Retry: retry}, d.restIsRetried()
}

// retriedNode reports whether a retry resets a node. The error says what no retry makes of it.
func (d diff) retriedNode(id string, removed map[string]bool) (isReset bool, err error) {
	if removed[id] {
		was, err := decode[wfv1.NodeStatus](d.before[id])
		if err != nil {
			return false, err
		}
		for _, child := range was.Children {
			if _, known := d.before[child]; known && !removed[child] {
				return false, notAVerb("node %s is gone, and its child %s is not", id, child)
			}
		}
		return false, nil
	}
	was, is, isChanged, err := d.node(id)
	if err != nil || !isChanged {
		return false, err
	}
	isRemoved := func(id string) bool { return removed[id] }
	was.Children = slices.DeleteFunc(was.Children, isRemoved)
	was.OutboundNodes = slices.DeleteFunc(was.OutboundNodes, isRemoved)
	if equality.Semantic.DeepEqual(was, is) {
		return false, nil
	}
	if !slices.Contains(groups, was.Type) || is.Phase != wfv1.NodeRunning || is.Message != "" && is.Message != was.Message {
		return false, notAVerb("node %s (%s) has changed in a way in which a retry changes none; use argo 3.6 or later", id, was.Type)
	}
	was.Phase, was.Message, was.StartedAt, was.FinishedAt = is.Phase, is.Message, is.StartedAt, metav1.Time{}
	if !equality.Semantic.DeepEqual(was, is) {
		return false, notAVerb("node %s has changed in more than a retry resets; use argo 3.6 or later", id)
	}
	return true, nil
}

// restIsRetried returns an error if anything but the nodes has changed otherwise than by a retry.
func (d diff) restIsRetried() error {
	was, is := d.was, d.is
	switch {
	case !is.FinishedAt.IsZero(), is.Message != "", len(is.PersistentVolumeClaims) > 0:
		return notAVerb("a Workflow that runs again has no end, message or volumes yet")
	case isCompleted(is.Conditions):
		return notAVerb("a Workflow that runs again is not Completed")
	}
	was.Conditions, is.Conditions = withoutCompleted(was.Conditions), withoutCompleted(is.Conditions)
	was.Phase, was.StartedAt, was.FinishedAt, was.Message, was.PersistentVolumeClaims =
		is.Phase, is.StartedAt, is.FinishedAt, is.Message, is.PersistentVolumeClaims
	was.StoredWorkflowSpec, is.StoredWorkflowSpec = withoutRetried(was.StoredWorkflowSpec), withoutRetried(is.StoredWorkflowSpec)
	return sameRest(was, is)
}

func isCompleted(conditions wfv1.Conditions) bool {
	return slices.ContainsFunc(conditions, func(c wfv1.Condition) bool {
		return c.Type == wfv1.ConditionTypeCompleted && c.Status == metav1.ConditionTrue
	})
}

func withoutCompleted(conditions wfv1.Conditions) wfv1.Conditions {
	return slices.DeleteFunc(slices.Clone(conditions), func(c wfv1.Condition) bool { return c.Type == wfv1.ConditionTypeCompleted })
}

// withoutRetried returns a stored spec without what a retry changes in it.
func withoutRetried(spec *wfv1.WorkflowSpec) *wfv1.WorkflowSpec {
	if spec == nil {
		return nil
	}
	out := spec.DeepCopy()
	out.Shutdown, out.Arguments.Parameters = "", nil
	return out
}

// fieldName returns the name of a field in JSON.
func fieldName(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
	return name
}
