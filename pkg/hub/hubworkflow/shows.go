package hubworkflow

import "open-cluster-management.io/argo-workflow-multicluster/pkg/contract"

// Shows reports whether the Workflow has exactly this status, and the hub has written it.
func Shows(wf *Workflow, status map[string]any) bool {
	hash, err := contract.StatusHash(wf.GetUID(), status)
	return err == nil && wf.StatusHash == hash && !wf.IsForeign()
}
