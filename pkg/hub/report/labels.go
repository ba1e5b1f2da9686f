package report

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// maxLabels bounds the labels that are taken over. Kubernetes bounds each of them, and not how many there are.
const maxLabels = 64

// domainsOfControllers are those, with all below them, of labels by which this project, Argo, Kubernetes, and what applies objects for
// users find what is theirs: one of them that a managed cluster made up would have the hub Workflow adopted, pruned or run.
var domainsOfControllers = []string{"argoproj.io", "open-cluster-management.io", "kubernetes.io", "k8s.io", "fluxcd.io", "helm.sh"}

// restrictLabels returns those of the reported labels that the Workflow's own spec says it is to have or, where the spec refers
// to a WorkflowTemplate, that of the template which the status holds.
func restrictLabels(reported map[string]string, status map[string]any, own SpecView) map[string]string {
	wanted := map[string]bool{}
	maps.Copy(wanted, own.labels)
	if own.templateRef {
		stored, _ := status["storedWorkflowTemplateSpec"].(map[string]any)
		addLabelKeys(wanted, stored)
	}
	taken := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(reported)) {
		if wanted[key] && len(taken) < maxLabels && isUsers(key) && len(validation.IsValidLabelValue(reported[key])) == 0 {
			taken[key] = reported[key]
		}
	}
	return taken
}

// isUsers reports whether a label with this key is valid, and nobody's but the user's.
func isUsers(key string) bool {
	domain, _, prefixed := strings.Cut(key, "/")
	ofController := prefixed && slices.ContainsFunc(domainsOfControllers, func(of string) bool {
		return domain == of || strings.HasSuffix(domain, "."+of)
	})
	return !ofController && len(validation.IsQualifiedName(key)) == 0
}
