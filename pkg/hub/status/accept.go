package status

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// refusal is why a report is not taken; the zero value takes it.
type refusal struct {
	reason  string
	message string
}

// Reasons for refusing a report.
const (
	RefusedWrongCluster  = "WrongCluster"
	RefusedWrongWorkflow = "WrongWorkflow"
	RefusedWrongCopy     = "WrongCopy"
	RefusedUnreadable    = "UnreadableReport"
	RefusedEmpty         = "EmptyReport"
)

// accept returns the status that the cluster reports, if it speaks of this very run. Whoever has the agent's
// credentials may write anything into the report: it is data, and never followed.
func accept(wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow) (map[string]any, refusal) {
	report := rw.Status.Report
	switch {
	case rw.Namespace != contract.AssignedCluster(wf):
		return nil, refusal{RefusedWrongCluster, fmt.Sprintf("refused a report from cluster %s: the Workflow runs on %s",
			rw.Namespace, contract.AssignedCluster(wf))}
	case report.WorkflowUID != wf.GetUID() || report.Attempt != rw.Spec.Attempt:
		return nil, refusal{RefusedWrongWorkflow, fmt.Sprintf("refused a report from cluster %s: it speaks of Workflow UID %.64q, attempt %d, not of this one",
			rw.Namespace, report.WorkflowUID, report.Attempt)}
	case rw.Status.RemoteUID == "" || report.RemoteUID != rw.Status.RemoteUID:
		return nil, refusal{RefusedWrongCopy, fmt.Sprintf("refused a report from cluster %s: it speaks of a copy with UID %.64q, and the run is %.64q",
			rw.Namespace, report.RemoteUID, rw.Status.RemoteUID)}
	}
	status, refused := read(rw)
	if refused.reason != "" {
		return nil, refused
	}
	phase := contract.StatusString(status, "phase")
	if problems := validation.IsValidLabelValue(phase); phase == "" || len(problems) > 0 {
		return nil, refusal{RefusedEmpty, fmt.Sprintf("refused a report from cluster %s: a status with phase %.40q is none", rw.Namespace, phase)}
	}
	return status, refusal{}
}

// read decodes a report, or, where there is no more than that, makes do with its summary.
func read(rw *v1alpha1.RemoteWorkflow) (map[string]any, refusal) {
	why := unreported(rw)
	if len(rw.Status.Report.Data) == 0 {
		return onlySummary(rw, cmp.Or(why, "the whole status is too large for the hub's API server")), refusal{}
	}
	var malformed error
	status, err := contract.DecodeStatus(rw.Status.Report.Data, func(status map[string]any) {
		malformed = checkForm(status, &wfv1.WorkflowStatus{})
	})
	if err != nil {
		return nil, refusal{RefusedUnreadable, fmt.Sprintf("refused a report from cluster %s: %.256s", rw.Namespace, err)}
	}
	if malformed != nil {
		return onlySummary(rw, fmt.Sprintf("Argo's clients could not read the whole status: %.256s", malformed)), refusal{}
	}
	if why != "" {
		addCondition(status, ConditionIncomplete, why+": an older status is shown; the newer one is on cluster "+rw.Namespace)
	}
	return status, refusal{}
}

// unreported returns why the agent could not report the whole status, in its own words, cut short; "" if it could.
func unreported(rw *v1alpha1.RemoteWorkflow) string {
	reported := meta.FindStatusCondition(rw.Status.Conditions, v1alpha1.ConditionReported)
	if reported == nil || reported.Status != metav1.ConditionFalse {
		return ""
	}
	return fmt.Sprintf("%.1024s", reported.Message)
}

// checkForm returns an error if Argo's clients would fail to read the value as one of Argo's types, or what Argo's server
// passes on of it. One such Workflow makes them fail to list all others with it. Fields that the type does not know are no
// error, to them as to us.
func checkForm(value any, as any) error {
	if err := checkQuantities(value); err != nil {
		return err
	}
	for range 2 {
		raw, err := encode(value)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(raw, as); err != nil {
			return err
		}
		value = as
	}
	return nil
}

// encode returns a value as JSON, without the escapes for HTML: they would make six bytes of one.
func encode(value any) ([]byte, error) {
	var raw bytes.Buffer
	encoder := json.NewEncoder(&raw)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return raw.Bytes(), err
}

// quantityFields are the fields that hold a quantity of a resource, or several by name.
var quantityFields = []string{"allocatedResources", "capacity", "divisor", "limits", "requests", "sizeLimit"}

// absurdQuantity matches numbers of more digits, or with a larger exponent, than any quantity has.
var absurdQuantity = regexp.MustCompile(`^[+-]?[0-9.]*([0-9.]{64}|[eE][+-]?[0-9]{4})`)

// checkQuantities returns an error if a value holds a quantity with which a reader would be busy for hours: Kubernetes
// works with all the digits of 1e-2000000000.
func checkQuantities(value any) error {
	var err error
	check := func(quantity any) {
		if text, ok := quantity.(string); ok && absurdQuantity.MatchString(strings.TrimSpace(text)) {
			err = fmt.Errorf("absurd quantity %.64q", text)
		}
	}
	walkFields(value, quantityFields, func(field any) {
		check(field)
		if resources, ok := field.(map[string]any); ok {
			for _, quantity := range resources {
				check(quantity)
			}
		}
	})
	return err
}

// onlySummary returns what the RemoteWorkflow itself says of the status, and why that is all.
func onlySummary(rw *v1alpha1.RemoteWorkflow, why string) map[string]any {
	s := rw.Status
	status := summary(map[string]string{
		"phase": s.Phase, "progress": s.Progress, "message": s.Message, "startedAt": format(s.StartedAt), "finishedAt": format(s.FinishedAt),
	})
	addCondition(status, ConditionIncomplete, why+": only a summary is shown; the rest is on cluster "+rw.Namespace)
	return status
}

// format returns a time as Argo's clients read it; "" for one that they could not read: in UTC, a year can have five digits.
func format(t *metav1.Time) string {
	if t == nil {
		return ""
	}
	text := t.UTC().Format(time.RFC3339)
	if _, err := time.Parse(time.RFC3339, text); err != nil {
		return ""
	}
	return text
}
