package status

import (
	"fmt"
	"regexp"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// executorForbidden is what Kubernetes answers to the executor, a container in each pod of a Workflow, that may not report the
// results of its step. Argo makes it the message of the step, and of a Workflow that is a single step.
var executorForbidden = regexp.MustCompile(
	`workflowtaskresults\.argoproj\.io\b[^\n]{0,300}? is forbidden: User "system:serviceaccount:([a-z0-9-]{1,63}):([a-z0-9.-]{1,253})" cannot (?:create|patch) `)

// adviseExecutor adds to the message of a Workflow which right its executor lacks on the cluster, and how to grant it, if a step
// has failed for want of it; what the cluster has said stays.
func adviseExecutor(status map[string]any, cluster string) {
	if phase := contract.StatusString(status, "phase"); phase != contract.PhaseError && phase != "Failed" {
		return // it may yet be tried again
	}
	message := contract.StatusString(status, "message")
	found := executorForbidden.FindStringSubmatch(message)
	if found == nil {
		found = forbiddenStep(status)
	}
	if found == nil {
		return
	}
	advice := fmt.Sprintf("cluster %s: grant ServiceAccount %s in namespace %s the Role argo-workflows-executor (create and patch workflowtaskresults), "+
		"by the variables workflowNamespaces and executorServiceAccounts of the addon argo-workflows or by hand: "+
		"example/managed/executor-rbac.yaml", cluster, found[2], found[1])
	if message != "" {
		advice = message + "; " + advice
	}
	status["message"] = advice
}

// forbiddenStep finds the answer among the messages of the steps that have failed, the first by name.
func forbiddenStep(status map[string]any) []string {
	nodes, _ := status["nodes"].(map[string]any)
	var first string
	var found []string
	for id, value := range nodes {
		node, _ := value.(map[string]any)
		phase := contract.StatusString(node, "phase")
		if phase != contract.PhaseError && phase != "Failed" || first != "" && id > first {
			continue
		}
		if match := executorForbidden.FindStringSubmatch(contract.StatusString(node, "message")); match != nil {
			first, found = id, match
		}
	}
	return found
}
