// Package contract holds what hub and agent agree on: the keys they put on Workflows, how a Workflow is read
// and travels, names, and the encoding of a status. It does no I/O and depends on nothing of this project but
// the API types.
package contract

import (
	"strings"

	"github.com/argoproj/argo-workflows/v3/pkg/apis/workflow"
)

const (
	argoPrefix     = workflow.WorkflowFullName + "/"
	internalPrefix = "workflow.open-cluster-management.io/"

	// AddonName is the name of the agent's ClusterManagementAddOn and ManagedClusterAddOns.
	AddonName = "argo-workflow-multicluster"
	// ArgoAddonName is that of the addon that installs Argo Workflows.
	ArgoAddonName = "argo-workflows"
)

// Keys that users set on a hub Workflow.
const (
	// LabelEnable, with the value "true", hands a Workflow to this project: nothing on the hub runs it.
	LabelEnable = argoPrefix + "enable-ocm-multicluster"
	// LabelEnableValue is the only value of LabelEnable that has an effect.
	LabelEnableValue = "true"
	// AnnotationPlacement names the Placement, in the Workflow's namespace, that chooses the cluster.
	// It is the user's and is never changed.
	AnnotationPlacement = argoPrefix + "ocm-placement"
	// AnnotationCluster names the managed cluster: the user's direct choice or the Placement's answer.
	AnnotationCluster = argoPrefix + "ocm-managed-cluster"
	// AnnotationClusterNamespace names the namespace on the managed cluster; by default the hub's.
	AnnotationClusterNamespace = argoPrefix + "ocm-managed-cluster-namespace"
	// LabelWithoutAgent, with the value "true" on a ManagedCluster, lets Workflows be sent there although it has no agent of ours.
	LabelWithoutAgent = argoPrefix + "without-agent"
	// AnnotationRelease, with the value "true", lets a deleted Workflow go although its run may not be gone from its cluster.
	AnnotationRelease = argoPrefix + "ocm-release"
	// AnnotationReleaseValue is the only value of AnnotationRelease that has an effect.
	AnnotationReleaseValue = "true"
)

// Keys by which administrators, and whoever owns a Placement, steer the scheduler. The chart's admission policies refuse other values.
const (
	// AnnotationMaxWorkflows is the most unfinished Workflows: on a ManagedCluster those there, on a ManagedClusterSetBinding those of
	// its namespace on clusters of its set. A whole number from 0 to 1000000.
	AnnotationMaxWorkflows = argoPrefix + "max-workflows"
	// AnnotationNamespaces, on a ManagedClusterSetBinding, names the namespaces on the clusters of its set in which the Workflows of its
	// namespace may run, besides that of the same name: separated by commas, or AnyNamespace. On the ManagedCluster that is the hub itself, it
	// names those in which Workflows may run there at all.
	AnnotationNamespaces = argoPrefix + "namespace"
	// AnnotationExecutor, on a ManagedClusterSetBinding, is the ServiceAccount "<namespace>/<name>" on the managed clusters as which the work
	// agent creates the Workflows of the binding's namespace.
	AnnotationExecutor = argoPrefix + "executor"
	// AnnotationCreateNamespace, on a ManagedClusterSetBinding, is "true" where the namespace on a cluster is to be created with the first
	// Workflow that needs it.
	AnnotationCreateNamespace = argoPrefix + "create-namespace"
	// AnyNamespace, as the value of AnnotationNamespaces, stands for all but those of Kubernetes and of OCM.
	AnyNamespace = "*"
	// AnnotationStrategy, on a Placement, is StrategySpread, the default, or StrategyPack.
	AnnotationStrategy = argoPrefix + "strategy"
	// StrategySpread prefers the cluster with the most free resources, StrategyPack the one with the least in which the Workflow fits.
	StrategySpread = "spread"
	StrategyPack   = "pack"
	// AnnotationWeights, on a Placement, says how much each resource counts: such as "cpu=2,memory=1,pods=0", whole numbers from 0 to 100.
	AnnotationWeights = argoPrefix + "weights"
	// AnnotationCheckResources, with the value "false" on a Workflow or a ManagedCluster, lets a Workflow go to a cluster whose nodes are
	// too small for its largest pod: because more or larger ones can be added.
	AnnotationCheckResources = argoPrefix + "check-resources"
)

// Keys that the remote Workflow carries.
const (
	// LabelCluster, on the remote Workflow and its pods, names the managed cluster.
	LabelCluster = argoPrefix + "cluster"
	// LabelWorkflowNamespace, on the remote Workflow and its pods, is the namespace of the Workflow on the hub.
	LabelWorkflowNamespace = argoPrefix + "workflow-namespace"
	// AnnotationHubNamespace, AnnotationHubName and AnnotationHubUID name the Workflow on the hub.
	AnnotationHubNamespace = argoPrefix + "ocm-hub-workflow-namespace"
	AnnotationHubName      = argoPrefix + "ocm-hub-workflow-name"
	AnnotationHubUID       = argoPrefix + "ocm-hub-workflow-uid"
	// AnnotationHubID is the UID of the hub's kube-system namespace.
	AnnotationHubID = internalPrefix + "hub-id"
	// AnnotationAttempt is the attempt of the run, in decimal.
	AnnotationAttempt = internalPrefix + "attempt"
	// AnnotationRemoteWorkflow is the name of the run's RemoteWorkflow.
	AnnotationRemoteWorkflow = internalPrefix + "remote-workflow"
	// AnnotationRemoteWorkflowUID is its UID. A remote Workflow that was made for an earlier one of the same name is not claimed.
	AnnotationRemoteWorkflowUID = internalPrefix + "remote-workflow-uid"
	// AnnotationControls has the controls of the hub Workflow that were applied last: of EncodeControls.
	AnnotationControls = internalPrefix + "controls"
	// AnnotationEdits has the ids of the edits of RemoteWorkflow.spec that were applied, separated by commas.
	AnnotationEdits = internalPrefix + "edits"
	// AnnotationTerminated is when the agent terminated the run because it is being deleted, in RFC 3339.
	AnnotationTerminated = internalPrefix + "terminated"
	// LabelInstalledBy, on what Argo Workflows consists of, is the id of the hub whose addon has installed it.
	LabelInstalledBy = internalPrefix + "installed-by-hub"
	// FinalizerReport keeps a remote Workflow until its final status is on the hub or, if the run is deleted there, until it has ended and
	// waits for its pods. The agent adds and removes it.
	FinalizerReport = internalPrefix + "report"
)

// Internal keys on the hub.
const (
	// AnnotationAssigned records the cluster that an attempt to run a Workflow was given, as "<uid>/<attempt>/<cluster>".
	// With the UID of another Workflow it does not count: argo resubmit copies the annotations of the original.
	AnnotationAssigned = internalPrefix + "assigned"
	// AnnotationStatusHash is the hash of the status that the hub wrote last, together with the Workflow's UID.
	AnnotationStatusHash = internalPrefix + "status-hash"
	// AnnotationReportHash is the hash of what that status was made from: an equal report need not be read again.
	AnnotationReportHash = internalPrefix + "report-hash"
	// LabelDelivery is on the ManifestWorks that carry Workflows to a cluster: DeliveryGated or DeliveryUngated.
	LabelDelivery = internalPrefix + "delivery"
	// DeliveryGated carries remote Workflows until they are claimed. DeliveryUngated carries one to a cluster without agent, and stays.
	DeliveryGated   = "gated"
	DeliveryUngated = "ungated"
	// LabelWorkflowUID, on RemoteWorkflows and ungated deliveries, is the UID of the Workflow on the hub.
	LabelWorkflowUID = internalPrefix + "workflow-uid"
	// LabelApplyRetried, on a delivery, is when the hub last asked the work agent to try again, in seconds since 1970.
	// Any change of the ManifestWork makes it try at once.
	LabelApplyRetried = internalPrefix + "apply-retried"
	// LabelParent, on the Workflow of a step, is the name of the Workflow that has the step.
	LabelParent = internalPrefix + "parent"
	// AnnotationStep, on the Workflow of a step, is the step that it was made for: StepID.String. With another name than that of the
	// step it does not count: argo resubmit copies the annotations of the original.
	AnnotationStep = internalPrefix + "step"
	// AnnotationStepClusters, on the first Workflow of a step that runs in every cluster of a Placement, has their names, separated by commas.
	AnnotationStepClusters = internalPrefix + "step-clusters"
	// AnnotationTasksAskedFor, on a Workflow with steps in other clusters, is when the hub last had Argo's controller look at it again, since
	// Argo had not written their tasks, in RFC 3339.
	AnnotationTasksAskedFor = internalPrefix + "tasks-asked-for"
	// AnnotationStepSuspended, with the value "true" on the Workflow of a step, says that it was suspended with its parent.
	AnnotationStepSuspended = internalPrefix + "step-suspended"
	// GateSteps is the scheduling gate of the pods that Argo makes for plugin nodes.
	GateSteps = internalPrefix + "steps"
	// FinalizerStep keeps the Workflow of a step until Argo has the step's result.
	FinalizerStep = internalPrefix + "step"
	// FinalizerDispatch, on Workflows and RemoteWorkflows, keeps them until the run is gone from its cluster.
	FinalizerDispatch = internalPrefix + "dispatch"
)

// Instance ids. An Argo controller runs the Workflows whose LabelInstanceID is its own id, or, if it has no
// id, those without the label.
const (
	LabelInstanceID = argoPrefix + "controller-instanceid"
	// InstanceIDHub keeps Argo controllers on the hub from running a Workflow of ours.
	InstanceIDHub = "ocm-multicluster"
	// InstanceIDGate keeps Argo controllers on a managed cluster from running a remote Workflow before the agent starts it.
	InstanceIDGate = "ocm-multicluster-gated"
)

// Argo's own bookkeeping on a Workflow.
const (
	LabelPhase     = argoPrefix + "phase"
	LabelCompleted = argoPrefix + "completed"
	// LabelArchivingStatus is ArchivingPending as long as a finished Workflow is still to be written to Argo's archive.
	LabelArchivingStatus = argoPrefix + "workflow-archiving-status"
	ArchivingPending     = "Pending"
	// FinalizerArtifactGC keeps a Workflow until Argo has collected its artifacts.
	FinalizerArtifactGC       = argoPrefix + "artifact-gc"
	annotationLastSeenVersion = argoPrefix + "last-seen-version"
)

// IsFinalizer reports whether a finalizer is one of those on hub Workflows.
func IsFinalizer(finalizer string) bool {
	return finalizer == FinalizerDispatch || finalizer == FinalizerStep
}

// IsOurKey reports whether a label or annotation may be one of those above.
func IsOurKey(key string) bool {
	return strings.HasPrefix(key, argoPrefix) || strings.HasPrefix(key, internalPrefix)
}
