package install

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

// managerUser is the manager on the hub, as the audit log names it.
const managerUser = "system:serviceaccount:" + lab.ChartRelease + ":" + lab.ManagerDeployment

// agentRights asks the hub what the agent may do there: that of the design, and nothing else.
func agentRights(t *testing.T) {
	t.Helper()
	for _, c := range []*cluster{cluster1, cluster2} {
		subject := agentSubject(t, c)
		args := []string{"auth", "can-i", "--list", "--namespace", c.Name, "--as", subject.UserName}
		for _, group := range subject.Groups {
			args = append(args, "--as-group", group)
		}
		theHub.run(t, "kubectl", args...)
		assert.ElementsMatch(t, []string{
			"get,list,watch remoteworkflows.workflow.open-cluster-management.io",
			"update,patch remoteworkflows/status.workflow.open-cluster-management.io",
			"update,patch addonplacementscores/status.cluster.open-cluster-management.io argo-workflows",
		}, grants(t, subject, c.Name), "in its own namespace")
		for _, other := range []string{"default", "kube-system", "cluster1", "cluster2"} {
			if other != c.Name {
				assert.Empty(t, grants(t, subject, other), "of %s in namespace %s", c.Name, other)
			}
		}
	}
}

// agentSubject is who the agent of a cluster is on the hub, as the registration of its addon reports.
func agentSubject(t *testing.T, c *cluster) rest.ImpersonationConfig {
	t.Helper()
	addon := &addonv1beta1.ManagedClusterAddOn{}
	require.NoError(t, theHub.client.Get(t.Context(), client.ObjectKey{Namespace: c.Name, Name: contract.AddonName}, addon))
	for _, registration := range addon.Status.Registrations {
		if registration.KubeClient != nil {
			subject := registration.KubeClient.Subject
			return rest.ImpersonationConfig{UserName: subject.User, Groups: append(subject.Groups, "system:authenticated")}
		}
	}
	t.Fatalf("the addon on %s has not registered: %+v", c.Name, addon.Status)
	return rest.ImpersonationConfig{}
}

// grants lists what the subject may do in a namespace of the hub and not everybody may.
func grants(t *testing.T, subject rest.ImpersonationConfig, namespace string) []string {
	t.Helper()
	everybody := rules(t, rest.ImpersonationConfig{UserName: "somebody", Groups: []string{"system:authenticated"}}, namespace)
	return slices.DeleteFunc(rules(t, subject, namespace), func(rule string) bool { return slices.Contains(everybody, rule) })
}

func rules(t *testing.T, subject rest.ImpersonationConfig, namespace string) []string {
	t.Helper()
	config := rest.CopyConfig(theHub.config)
	config.Impersonate = subject
	kube, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	review, err := kube.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(), &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	var list []string
	for _, rule := range review.Status.ResourceRules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				list = append(list, strings.Join(rule.Verbs, ",")+" "+resource+"."+group+named(rule.ResourceNames))
			}
		}
	}
	for _, rule := range review.Status.NonResourceRules {
		list = append(list, strings.Join(rule.Verbs, ",")+" "+strings.Join(rule.NonResourceURLs, ","))
	}
	return list
}

func named(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return " " + strings.Join(names, ",")
}

// permission is a right on one kind of resource.
type permission struct{ verb, group, resource string }

func (p permission) String() string { return p.verb + " " + p.resource + "." + p.group }

// managerRights reads the hub's audit log: whatever the manager has asked for it was allowed to, and it has used what it
// may. Rules that no step of this test needs are listed here, with their reason.
func managerRights(t *testing.T) {
	t.Helper()
	unusedHere := map[string]string{
		"create events.events.k8s.io":                             "Events are left out of the audit log",
		"patch events.events.k8s.io":                              "Events are left out of the audit log",
		"create events.":                                          "Events are left out of the audit log",
		"patch events.":                                           "Events are left out of the audit log",
		"create tokenreviews.authentication.k8s.io":               "nobody reads the metrics here",
		"create subjectaccessreviews.authorization.k8s.io":        "nobody reads the metrics here",
		"get remoteworkflows.workflow.open-cluster-management.io": "granted to the agents, and used where the cache is behind",
		"get manifestworks.work.open-cluster-management.io":       "used where a cluster has no agent",
		// A manager can only give away what it has: these are the agents'.
		"update remoteworkflows/status.workflow.open-cluster-management.io":     "granted to the agents",
		"patch remoteworkflows/status.workflow.open-cluster-management.io":      "granted to the agents",
		"update addonplacementscores/status.cluster.open-cluster-management.io": "granted to the agents",
		"patch addonplacementscores/status.cluster.open-cluster-management.io":  "granted to the agents",
		"update managedclusteraddons/finalizers.addon.open-cluster-management.io": "asked for by API servers that enforce " +
			"permissions on owners, which this one does not",
		"execute-as manifestworks.work.open-cluster-management.io": "asked for by OCM's webhook for ManifestWorks, which is not installed here",
		"approve signers.certificates.k8s.io":                      "checked by the API server on each approval, which logs no request of its own",
	}
	used, denied := requests(t, theHub, managerUser)
	assert.Empty(t, denied, "requests of the manager that were denied")
	granted := managerRules(t)
	for _, p := range granted {
		assert.NotContains(t, []string{p.verb, p.group, p.resource}, "*", "wildcard in %s", p)
		assert.NotEqual(t, "secrets", p.resource)
		if p.verb == "list" && used[permission{"watch", p.group, p.resource}] {
			continue // a watch lists first, but where an API server cannot stream that
		}
		if !used[p] && unusedHere[p.String()] == "" {
			t.Errorf("the manager has not used its right to %s", p)
		}
	}
}

// agentsRequests reads the audit logs: whatever the agents have asked for, on the hub and on their clusters, they were allowed to.
func agentsRequests(t *testing.T) {
	t.Helper()
	for _, c := range []*cluster{cluster1, cluster2} {
		_, denied := requests(t, theHub, agentSubject(t, c).UserName)
		assert.Empty(t, denied, "requests of the agent of %s to the hub that were denied", c.Name)
		agent := "system:serviceaccount:" + lab.AddonNamespace + ":" + lab.AgentDeployment
		_, denied = requests(t, c, agent)
		assert.Empty(t, denied, "requests of the agent to %s that were denied", c.Name)
	}
}

// managerRules lists what the manager's ClusterRole and Role grant.
func managerRules(t *testing.T) []permission {
	t.Helper()
	clusterRole := &rbacv1.ClusterRole{}
	key := client.ObjectKey{Name: "open-cluster-management:" + lab.ManagerDeployment}
	require.NoError(t, theHub.client.Get(t.Context(), key, clusterRole))
	role := &rbacv1.Role{}
	key = client.ObjectKey{Namespace: lab.ChartRelease, Name: lab.ManagerDeployment}
	require.NoError(t, theHub.client.Get(t.Context(), key, role))
	granted := map[permission]bool{}
	for _, rule := range slices.Concat(clusterRole.Rules, role.Rules) {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					granted[permission{verb, group, resource}] = true
				}
			}
		}
	}
	return slices.SortedFunc(maps.Keys(granted), func(a, b permission) int { return strings.Compare(a.String(), b.String()) })
}

// requests reads a cluster's audit log: what the user has used, and what was denied.
func requests(t *testing.T, c *cluster, user string) (used map[permission]bool, denied []string) {
	t.Helper()
	file, err := os.Open(c.AuditLog())
	require.NoError(t, err)
	defer func() { assert.NoError(t, file.Close()) }()
	used = map[permission]bool{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	seen := 0
	for lines.Scan() {
		var entry struct {
			Verb           string
			RequestURI     string
			User           struct{ Username string }
			ObjectRef      struct{ APIGroup, Resource, Subresource string }
			ResponseStatus struct{ Code int }
		}
		if json.Unmarshal(lines.Bytes(), &entry) != nil || entry.User.Username != user {
			continue // the last line may be half written
		}
		seen++
		resource := entry.ObjectRef.Resource
		if entry.ObjectRef.Subresource != "" {
			resource += "/" + entry.ObjectRef.Subresource
		}
		if entry.ResponseStatus.Code == 403 {
			denied = append(denied, fmt.Sprintf("%s %s", entry.Verb, entry.RequestURI))
			continue
		}
		used[permission{entry.Verb, entry.ObjectRef.APIGroup, resource}] = true
	}
	require.NoError(t, lines.Err())
	require.NotZero(t, seen, "requests of %s in the audit log of %s", user, c.Name)
	return used, denied
}
