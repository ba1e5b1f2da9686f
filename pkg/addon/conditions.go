package addon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/util/retry"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	"open-cluster-management.io/addon-framework/pkg/addonmanager/constants"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	workv1 "open-cluster-management.io/api/work/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// ConditionArgoManaged says, on the ManagedClusterAddOn argo-workflows, whether Argo Workflows on the cluster is the addon's. It is
// unknown until the cluster has answered, and false where there was another installation.
const ConditionArgoManaged = "ArgoWorkflowsManaged"

// Reasons of ConditionArgoManaged.
const (
	ReasonInstalled            = "Installed"
	ReasonExistingInstallation = "ExistingInstallation"
	ReasonProbing              = "Probing"
)

// Reasons of the condition Degraded, which both addons have: what of them does not work on the cluster, and why.
const (
	ReasonManifestsNotApplied   = "ManifestsNotApplied"
	ReasonDeploymentUnavailable = "DeploymentUnavailable"
	ReasonAsExpected            = "AsExpected"
)

// ConditionArgoVersion says, on the ManagedClusterAddOn argo-workflow-multicluster, whether the version of Argo Workflows on the cluster is
// one that is supported. It is unknown where the images of Argo's controllers do not say their version.
const ConditionArgoVersion = "ArgoVersionSupported"

// Reasons of ConditionArgoVersion.
const (
	ReasonVersionSupported  = "VersionSupported"
	ReasonVersionVulnerable = "VersionVulnerable"
	ReasonVersionUnknown    = "VersionUnknown"
)

// supportedArgo are, of each major version of Argo Workflows, the first without a known way for whoever creates a Workflow to get rights
// that the Workflow does not have, or to stop the controller. A later major version is supported.
var supportedArgo = []*version.Version{version.MustParseSemantic("3.7.15"), version.MustParseSemantic("4.0.6")}

// maxConditionLength is how many characters a condition says at most of what a cluster has answered.
const maxConditionLength = 2048

// SetupConditions adds to the manager what writes those conditions of the addons that OCM and the addon framework do not: it
// reads what the clusters' work agents say of the addons' ManifestWorks, and what the agents have measured. hubID is that of Options. It
// runs on the leader.
func SetupConditions(mgr manager.Manager, hubID string) error {
	ours, err := labels.NewRequirement(addonv1beta1.AddonLabelKey, selection.In, []string{contract.AddonName, contract.ArgoAddonName})
	if err != nil {
		return fmt.Errorf("select the addons' ManifestWorks: %w", err)
	}
	// The manager's own cache holds the ManifestWorks of Workflows.
	works, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{
			&workv1.ManifestWork{}: {Label: labels.NewSelector().Add(*ours), Transform: withoutSpec},
		},
	})
	if err != nil {
		return fmt.Errorf("create the cache of the addons' ManifestWorks: %w", err)
	}
	r := &conditionReconciler{works: works, scores: mgr.GetCache(), live: mgr.GetAPIReader(), client: mgr.GetClient(), hubID: hubID}
	return errors.Join(
		mgr.Add(manager.RunnableFunc(works.Start)),
		builder.ControllerManagedBy(mgr).
			Named("addon-conditions").
			WatchesRawSource(source.Kind(works, &workv1.ManifestWork{}, handler.TypedEnqueueRequestsFromMapFunc(addonOf))).
			WatchesRawSource(source.Kind(mgr.GetCache(), &clusterv1alpha1.AddOnPlacementScore{},
				handler.TypedEnqueueRequestsFromMapFunc(addonOfScore), newVersion)).
			Complete(r),
	)
}

// withoutSpec keeps of a ManifestWork what is read here.
func withoutSpec(obj any) (any, error) {
	if work, ok := obj.(*workv1.ManifestWork); ok {
		work.Spec, work.ManagedFields = workv1.ManifestWorkSpec{}, nil
	}
	return obj, nil
}

// addonOf asks for the ManagedClusterAddOn that a ManifestWork belongs to.
func addonOf(_ context.Context, work *workv1.ManifestWork) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{
		Namespace: work.Namespace, Name: work.Labels[addonv1beta1.AddonLabelKey],
	}}}
}

// addonOfScore asks for the ManagedClusterAddOn of the agent that has written a score.
func addonOfScore(_ context.Context, score *clusterv1alpha1.AddOnPlacementScore) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: score.Namespace, Name: contract.AddonName}}}
}

// newVersion passes of the changes of a score only those of Argo's version: it is written every few seconds.
var newVersion = predicate.TypedFuncs[*clusterv1alpha1.AddOnPlacementScore]{
	UpdateFunc: func(e event.TypedUpdateEvent[*clusterv1alpha1.AddOnPlacementScore]) bool {
		was, measuredBefore := argoVersionIn(e.ObjectOld)
		is, measured := argoVersionIn(e.ObjectNew)
		return was != is || measured != measuredBefore
	},
}

// argoVersionIn returns the version of Argo Workflows that an agent reports, and whether it has reported anything.
func argoVersionIn(score *clusterv1alpha1.AddOnPlacementScore) (reported string, measured bool) {
	condition := meta.FindStatusCondition(score.Status.Conditions, contract.ConditionMeasured)
	if condition == nil || condition.Status != metav1.ConditionTrue {
		return "", false
	}
	capacity, err := contract.ReadCapacity(condition.Message)
	return capacity.ArgoVersion, err == nil
}

// conditionReconciler writes conditions of ManagedClusterAddOns.
type conditionReconciler struct {
	// works has the ManifestWorks of the addons.
	works client.Reader
	// scores has what the agents have measured.
	scores client.Reader
	// live reads ManagedClusterAddOns.
	live   client.Reader
	client client.Client
	hubID  string
}

// Reconcile brings the conditions of one ManagedClusterAddOn up to what its ManifestWorks say. Others write conditions to the
// same list, so one that has changed meanwhile is read again.
func (r *conditionReconciler) Reconcile(ctx context.Context, req reconcile.Request) (ctrl.Result, error) {
	works := &workv1.ManifestWorkList{}
	if err := r.works.List(ctx, works, client.InNamespace(req.Namespace),
		client.MatchingLabels{addonv1beta1.AddonLabelKey: req.Name}); err != nil {
		return ctrl.Result{}, fmt.Errorf("list ManifestWorks: %w", err)
	}
	slices.SortFunc(works.Items, func(a, b workv1.ManifestWork) int { return strings.Compare(a.Name, b.Name) })
	var manifests []workv1.ManifestCondition
	for i := range works.Items {
		if strings.HasPrefix(works.Items[i].Name, constants.DeployWorkNamePrefix(req.Name)) { // not that of the agent's pre-delete hook
			manifests = append(manifests, works.Items[i].Status.ResourceStatus.Manifests...)
		}
	}
	var reported []metav1.Condition
	if req.Name == contract.AddonName {
		score := &clusterv1alpha1.AddOnPlacementScore{}
		err := r.scores.Get(ctx, types.NamespacedName{Namespace: req.Namespace, Name: contract.ScoreName}, score)
		if client.IgnoreNotFound(err) != nil {
			return ctrl.Result{}, fmt.Errorf("get AddOnPlacementScore: %w", err)
		}
		if installed, measured := argoVersionIn(score); measured {
			reported = append(reported, argoVersion(installed))
		}
	}
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		addon := &addonv1beta1.ManagedClusterAddOn{}
		if err := r.live.Get(ctx, req.NamespacedName, addon); err != nil {
			return client.IgnoreNotFound(err)
		}
		if !addon.DeletionTimestamp.IsZero() {
			return nil // what it consists of goes away
		}
		before := addon.DeepCopy()
		changed := false
		for _, condition := range append(r.conditions(addon, manifests), reported...) {
			changed = meta.SetStatusCondition(&addon.Status.Conditions, condition) || changed
		}
		if !changed {
			return nil
		}
		return client.IgnoreNotFound(r.client.Status().Patch(ctx, addon,
			client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})))
	})
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("write conditions: %w", err)
	}
	return ctrl.Result{}, nil
}

// conditions returns the conditions that an addon is to have, given what its cluster says of the manifests. Of what the cluster
// says nothing, the addon keeps the conditions that it has.
func (r *conditionReconciler) conditions(
	addon *addonv1beta1.ManagedClusterAddOn, manifests []workv1.ManifestCondition,
) []metav1.Condition {
	var conditions []metav1.Condition
	if len(manifests) > 0 {
		conditions = append(conditions, degraded(manifests))
	}
	if addon.Name != contract.ArgoAddonName {
		return conditions
	}
	managed := argoManaged(r.hubID, manifests)
	if before := meta.FindStatusCondition(addon.Status.Conditions, ConditionArgoManaged); before != nil &&
		(managed.Status == metav1.ConditionUnknown || isSameCRD(before, manifests)) {
		return conditions
	}
	return append(conditions, managed)
}

// isSameCRD reports whether the addon has installed Argo Workflows with the CRD that is there now. It does not lose it with
// the label, which tools that replace CRDs take away.
func isSameCRD(before *metav1.Condition, manifests []workv1.ManifestCondition) bool {
	uid := argoCRDFeedback(manifests).text(feedbackUID)
	return before.Status == metav1.ConditionTrue && uid != "" && strings.HasSuffix(before.Message, " "+uid)
}

// argoCRDFeedback returns what the cluster says of the CRD of Workflows.
func argoCRDFeedback(manifests []workv1.ManifestCondition) feedback {
	index := slices.IndexFunc(manifests, func(m workv1.ManifestCondition) bool {
		return m.ResourceMeta.Resource == crdResource && m.ResourceMeta.Name == argoCRD
	})
	if index < 0 {
		return nil
	}
	return feedbackOf(manifests[index].StatusFeedbacks)
}

// argoManaged says whose the Argo Workflows on the cluster is, by the label of its CRD.
func argoManaged(hubID string, manifests []workv1.ManifestCondition) metav1.Condition {
	condition := metav1.Condition{
		Type: ConditionArgoManaged, Status: metav1.ConditionUnknown, Reason: ReasonProbing,
		Message: "the cluster has not said yet whether it has Argo Workflows already",
	}
	values := argoCRDFeedback(manifests)
	switch by := values.text(feedbackInstalledBy); {
	case values.text(feedbackUID) == "":
	case by == hubID:
		condition.Status, condition.Reason = metav1.ConditionTrue, ReasonInstalled
		condition.Message = "this addon has installed Argo Workflows on the cluster, with the CRD of Workflows whose UID is " +
			values.text(feedbackUID)
	default:
		condition.Status, condition.Reason = metav1.ConditionFalse, ReasonExistingInstallation
		owner := "by others than this addon"
		if by != "" {
			owner = fmt.Sprintf("by the addon of another hub, %q", cut(by, 64))
		}
		condition.Message = fmt.Sprintf("Argo Workflows was installed on the cluster %s, and is left alone. To have this addon install it, "+
			"remove that controller, and then the CRDs as well, or keep them and the Workflows: kubectl label --overwrite crd %s %s=%s",
			owner, argoCRD, contract.LabelInstalledBy, hubID)
	}
	return condition
}

// argoVersion says whether a version of Argo Workflows is supported, "" being one that is not known.
func argoVersion(installed string) metav1.Condition {
	condition := metav1.Condition{
		Type: ConditionArgoVersion, Status: metav1.ConditionUnknown, Reason: ReasonVersionUnknown,
		Message: "the version of Argo Workflows on the cluster is not known: no image there has a version as its tag",
	}
	is, err := version.ParseGeneric(installed)
	if err != nil {
		return condition
	}
	condition.Status, condition.Reason = metav1.ConditionTrue, ReasonVersionSupported
	condition.Message = "Argo Workflows on the cluster is " + is.String()
	for _, first := range supportedArgo {
		if is.Major() == first.Major() && is.LessThan(first) || is.Major() < supportedArgo[0].Major() {
			condition.Status, condition.Reason = metav1.ConditionFalse, ReasonVersionVulnerable
			condition.Message += fmt.Sprintf(", which has published vulnerabilities that whoever creates a Workflow can use: upgrade it to %s or "+
				"later, or to %s or later", supportedArgo[0], supportedArgo[1])
			break
		}
	}
	return condition
}

// degraded says what of an addon does not work on its cluster.
func degraded(manifests []workv1.ManifestCondition) metav1.Condition {
	var refused, broken []string
	for _, m := range manifests {
		resource := m.ResourceMeta
		applied := meta.FindStatusCondition(m.Conditions, workv1.ManifestApplied)
		switch {
		case applied != nil && applied.Status == metav1.ConditionFalse:
			refused = append(refused, fmt.Sprintf("%s %s: %s", resource.Kind, klog.KRef(resource.Namespace, resource.Name), applied.Message))
		case resource.Resource == "deployments":
			values := feedbackOf(m.StatusFeedbacks)
			if problem := unavailable(resource.Namespace, resource.Name, values); problem != "" {
				broken = append(broken, problem)
			} else if problem := stuck(resource.Namespace, resource.Name, values); problem != "" {
				broken = append(broken, problem)
			}
		}
	}
	condition := metav1.Condition{
		Type: addonv1beta1.ManagedClusterAddOnConditionDegraded, Status: metav1.ConditionTrue,
		Message: cut(strings.Join(append(broken, refused...), "; "), maxConditionLength),
	}
	switch {
	case len(broken) > 0:
		condition.Reason = ReasonDeploymentUnavailable
	case len(refused) > 0:
		condition.Reason = ReasonManifestsNotApplied
	default:
		condition.Status, condition.Reason = metav1.ConditionFalse, ReasonAsExpected
		condition.Message = "all manifests are applied, and the Deployments among them are available"
	}
	return condition
}

// unavailable returns what is wrong with a Deployment that is not available, "" if it is or nothing is known of it yet.
func unavailable(namespace, name string, values feedback) string {
	if values.text(feedbackAvailable) != string(metav1.ConditionFalse) {
		return ""
	}
	problem := fmt.Sprintf("Deployment %s: %d of %d replicas available: %s", klog.KRef(namespace, name),
		values.number("AvailableReplicas"), values.number("Replicas"), values.text(feedbackAvailableMessage))
	switch values.text(feedbackProgressingReason) {
	case "", "NewReplicaSetAvailable", "NewReplicaSetCreated", "FoundNewReplicaSet", "ReplicaSetUpdated":
	default:
		problem += " " + values.text(feedbackProgressingMessage)
	}
	return problem + imageHint(values)
}

// stuck returns what is wrong with a Deployment whose rollout does not come to an end, "" if there is no such rollout.
func stuck(namespace, name string, values feedback) string {
	if values.text(feedbackProgressingReason) != "ProgressDeadlineExceeded" {
		return ""
	}
	return fmt.Sprintf("Deployment %s: the new replicas do not become available, the old ones go on: %s", klog.KRef(namespace, name),
		values.text(feedbackProgressingMessage)) + imageHint(values)
}

// imageHint names the image, which is the most common cause: a Deployment does not say why its pods do not start.
func imageHint(values feedback) string {
	if image := values.text(feedbackImage); image != "" {
		return fmt.Sprintf(" (image %s)", image)
	}
	return ""
}

// feedback is what the work agent feeds back of an object, by name.
type feedback map[string]workv1.FieldValue

func feedbackOf(result workv1.StatusFeedbackResult) feedback {
	values := feedback{}
	for _, value := range result.Values {
		values[value.Name] = value.Value
	}
	return values
}

// text returns a value, "" if it is missing or no text.
func (f feedback) text(name string) string { return ptr.Deref(f[name].String, "") }

// number returns a value, 0 if it is missing or no number: a Deployment leaves out counts that are 0.
func (f feedback) number(name string) int64 { return ptr.Deref(f[name].Integer, 0) }

// cut shortens text to so many characters, the last of them an ellipsis.
func cut(text string, length int) string {
	if utf8.RuneCountInString(text) <= length {
		return text
	}
	return string([]rune(text)[:length-1]) + "…"
}
