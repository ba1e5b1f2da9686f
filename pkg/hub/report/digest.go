package report

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
)

// source is all that decides what Take returns.
type source struct {
	Rules     string
	Workflow  types.UID
	Namespace string
	Cluster   string
	Spec      map[string]any

	Remote                        types.UID
	RemoteCluster                 string
	Attempt                       int32
	RemoteUID                     types.UID
	Phase, Progress, Message      string
	StartedAt, FinishedAt         string
	Labels                        map[string]string
	Reported                      metav1.ConditionStatus
	ReportedMessage               string
	ReportedOf, ReportedRemoteUID types.UID
	ReportedAttempt               int32
	// Data is the digest of the data, by the cluster's own word: one that is not true shows its own users an older status.
	Data string
}

// maxCachedData is the most data, in bytes, of a report that Trim leaves. Nearly all Workflows have less.
const maxCachedData = 8 << 10

// Trim is the transform of the cache of RemoteWorkflows: it takes away the data of a large report, of which the digest is left, and those
// of a spec. Whoever needs them reads the RemoteWorkflow from the API server.
func Trim(obj any) (any, error) {
	if rw, ok := obj.(*v1alpha1.RemoteWorkflow); ok {
		rw.ManagedFields = nil
		if report := rw.Status.Report; report != nil && len(report.Data) > maxCachedData {
			report.Digest = digestOf(report)
			report.Data = nil
		}
		if rw.Status.Spec != nil {
			rw.Status.Spec.Data = nil
		}
	}
	return obj, nil
}

// SourceDigest identifies all that decides what Take returns, without decoding the report: as long as it is the same, so is that.
func SourceDigest(rw *v1alpha1.RemoteWorkflow, labels map[string]string, run Run) string {
	s := source{
		Rules: RulesVersion, Workflow: run.WorkflowUID, Namespace: run.Namespace, Cluster: run.Cluster, Spec: run.Spec.Value(),
		Remote: rw.UID, RemoteCluster: rw.Namespace, Attempt: rw.Spec.Attempt, RemoteUID: rw.Status.RemoteUID,
		Phase: rw.Status.Phase, Progress: rw.Status.Progress, Message: rw.Status.Message,
		StartedAt: FormatTime(rw.Status.StartedAt), FinishedAt: FormatTime(rw.Status.FinishedAt), Labels: labels,
	}
	if reported := reportedCondition(rw); reported != nil {
		s.Reported, s.ReportedMessage = reported.Status, reported.Message
	}
	if report := rw.Status.Report; report != nil {
		s.ReportedOf, s.ReportedRemoteUID, s.ReportedAttempt, s.Data = report.WorkflowUID, report.RemoteUID, report.Attempt, digestOf(report)
	}
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err) // texts and numbers
	}
	hash := sha256.Sum256(raw)
	return hex.EncodeToString(hash[:16])
}

// digestOf returns the digest that the report has, or what it would be.
func digestOf(report *v1alpha1.Report) string {
	if report.Digest != "" {
		return report.Digest
	}
	data := sha256.Sum256(report.Data)
	return hex.EncodeToString(data[:])
}
