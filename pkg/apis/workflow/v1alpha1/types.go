package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Condition types of a RemoteWorkflow. The agent writes them.
const (
	// ConditionStarted is True once the gate of the one remote Workflow that may run has been opened, and False,
	// with a message for the user, while the agent refuses to start what bears the Workflow's name.
	ConditionStarted = "Started"

	// ConditionRemoteDeleted is True when the recorded remote Workflow is gone, or is not to run any more; the reason says why.
	// After it, nothing else is started for this RemoteWorkflow.
	ConditionRemoteDeleted = "RemoteDeleted"

	// ConditionReported is False, with the reason, when the agent cannot report the whole status.
	ConditionReported = "Reported"

	// ConditionControlled is False when the managed cluster does not let the agent change the remote Workflow's spec as the user of the hub
	// Workflow wants, and True when it does again.
	ConditionControlled = "Controlled"
)

// Reasons of the conditions above.
const (
	// ReasonGateOpened: the remote Workflow was started.
	ReasonGateOpened = "GateOpened"
	// ReasonNotOurs: what bears the Workflow's name on the managed cluster is not this run.
	ReasonNotOurs = "NotOurs"
	// ReasonStartNotGranted: the hub had already recorded another remote Workflow as the run.
	ReasonStartNotGranted = "AnotherCopyStarted"
	// ReasonNotTakenUp: the gate is open, and the cluster's Argo controller has written nothing yet.
	ReasonNotTakenUp = "NotTakenUp"
	// ReasonStartDenied: the managed cluster's API server does not let the remote Workflow start.
	ReasonStartDenied = "StartDenied"

	// ReasonDeletedUnfinished: the remote Workflow was deleted before it finished, and has been terminated.
	ReasonDeletedUnfinished = "DeletedBeforeItFinished"
	// ReasonVanishedUnfinished: the remote Workflow was not finished when last seen, and is gone.
	ReasonVanishedUnfinished = "Vanished"
	// ReasonDeletedFinished: the remote Workflow finished, was reported, and is gone: a TTL or a person removed it.
	ReasonDeletedFinished = "DeletedAfterItFinished"
	// ReasonRolledBack: the remote Workflow is as it was before it started, and the hub has heard of its run: the managed
	// cluster was restored from a backup.
	ReasonRolledBack = "RolledBack"
	// ReasonRemoved: the remote Workflow is gone because the hub asked for its removal.
	ReasonRemoved = "Removed"
	// ReasonLeft: the remote Workflow goes on without the hub, which asked for that.
	ReasonLeft = "Left"

	// ReasonChanged: the spec of the remote Workflow is as the user of the hub Workflow wants.
	ReasonChanged = "Changed"
	// ReasonChangeDenied: the managed cluster's API server does not let it be changed.
	ReasonChangeDenied = "ChangeDenied"

	// ReasonReportComplete: the whole status is in the report.
	ReasonReportComplete = "Complete"
	// ReasonReportTooLarge: the hub's API server refused the report for its size.
	ReasonReportTooLarge = "TooLarge"
	// ReasonReportRejected: the hub's API server refused the report as invalid.
	ReasonReportRejected = "Rejected"
)

// RemoteWorkflow is one attempt to run a hub Workflow on one managed cluster. It lives on the hub in the
// namespace of that cluster. The hub writes its metadata and spec, the cluster's agent its status.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=rwf,categories=argo
// +kubebuilder:metadata:annotations="workflow.open-cluster-management.io/contract-revision=5"
// +kubebuilder:printcolumn:name="Namespace",type=string,JSONPath=`.spec.workflowRef.namespace`,description="Namespace of the Workflow on the hub"
// +kubebuilder:printcolumn:name="Workflow",type=string,JSONPath=`.spec.workflowRef.name`,description="Name of the Workflow on the hub"
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Progress",type=string,JSONPath=`.status.progress`
// +kubebuilder:printcolumn:name="Attempt",type=integer,JSONPath=`.spec.attempt`,priority=1
// +kubebuilder:printcolumn:name="Remote UID",type=string,JSONPath=`.status.remoteUID`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.remoteUID) || (has(self.status) && has(self.status.remoteUID) && self.status.remoteUID == oldSelf.status.remoteUID)",message="status.remoteUID names the one remote Workflow that may run and cannot change once it is set"
type RemoteWorkflow struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says which Workflow runs where. The hub writes it, the agent only reads it.
	// +required
	Spec RemoteWorkflowSpec `json:"spec"`

	// status says what the agent sees on the managed cluster. The agent writes it, nobody else.
	// +optional
	Status RemoteWorkflowStatus `json:"status,omitempty"`
}

// RemoteWorkflowList is a list of RemoteWorkflows.
//
// +kubebuilder:object:root=true
type RemoteWorkflowList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []RemoteWorkflow `json:"items"`
}

// RemoteWorkflowSpec says which hub Workflow runs, as what on the managed cluster, and what the hub wants of it.
//
// +kubebuilder:validation:XValidation:rule="self.hubID == oldSelf.hubID && self.workflowRef == oldSelf.workflowRef && self.remote == oldSelf.remote && self.attempt == oldSelf.attempt && self.reporting == oldSelf.reporting",message="the identity of an attempt is immutable: another attempt is another RemoteWorkflow"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.removal) || (has(self.removal) && self.removal == oldSelf.removal)",message="spec.removal cannot change once it is set"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.specDigest) || (has(self.specDigest) && self.specDigest == oldSelf.specDigest)",message="spec.specDigest cannot change once it is set"
type RemoteWorkflowSpec struct {
	// hubID identifies the hub: the UID of its kube-system namespace. A managed cluster that serves
	// two hubs tells their Workflows apart by it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	HubID string `json:"hubID"`

	// workflowRef names the Workflow on the hub.
	// +required
	WorkflowRef WorkflowReference `json:"workflowRef"`

	// remote names the Workflow on the managed cluster.
	// +required
	Remote RemoteReference `json:"remote"`

	// attempt counts the runs of the hub Workflow, from 1.
	// +required
	// +kubebuilder:validation:Minimum=1
	Attempt int32 `json:"attempt"`

	// reporting says how the status comes back. Agent: the remote Workflow is created gated, and the agent
	// starts and reports it. Feedback: the cluster runs no agent, the remote Workflow runs as soon as it is created, and
	// only a summary comes back, through the ManifestWork.
	// +required
	Reporting Reporting `json:"reporting"`

	// removal says what the agent does with the remote Workflow when the RemoteWorkflow is being deleted. Without it, a
	// deletion only forbids a start. Terminate: the agent terminates the remote Workflow, deletes it with its pods, and
	// says so. Leave: the agent removes its finalizer, and the remote Workflow goes on.
	// +optional
	Removal Removal `json:"removal,omitempty"`

	// What the user of the hub Workflow wants of the run by now. A change is carried to the remote Workflow as just that change.
	Controls `json:",inline"`

	// argumentsDigest identifies the parameters in spec.arguments of the hub Workflow that the remote Workflow has, but for what retries in
	// edits bring.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ArgumentsDigest string `json:"argumentsDigest,omitempty"`

	// specDigest identifies the spec of the hub Workflow as it was sent, but for what has an effect when that is changed.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	SpecDigest string `json:"specDigest,omitempty"`

	// wantSpec asks for the spec of the remote Workflow, in status.spec: that of the hub Workflow is not the one that was sent any more.
	// +optional
	WantSpec bool `json:"wantSpec,omitempty"`

	// edits are what users have done once to the status of the hub Workflow, the oldest first. The agent applies each once to the remote
	// Workflow, or refuses it, and answers in status.edits. Those that are answered go when another one is added.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=16
	Edits []Edit `json:"edits,omitempty"`
}

// Edit is what a user has done at once to the status of a hub Workflow, with argo, the Argo UI or kubectl.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="an edit cannot change: another one has another id"
type Edit struct {
	// id identifies the edit. No other of this RemoteWorkflow has it, ever.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	ID string `json:"id"`
	// statusHash identifies the status that the user has made of that of the hub Workflow: it is not taken for another edit.
	// +required
	// +kubebuilder:validation:MaxLength=64
	StatusHash string `json:"statusHash"`
	// nodes are the Suspend nodes that were resumed, stopped or set.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=4096
	Nodes []NodeEdit `json:"nodes,omitempty"`
	// outputs are the output parameters of the Workflow that were set with those of the nodes.
	// +optional
	// +listType=map
	// +listMapKey=name
	Outputs []Parameter `json:"outputs,omitempty"`
	// retry runs a Workflow that has finished again, but for the nodes that are kept.
	// +optional
	Retry *Retry `json:"retry,omitempty"`
}

// NodeEdit is what becomes of a Suspend node that waits.
type NodeEdit struct {
	// id of the node.
	// +required
	// +kubebuilder:validation:MaxLength=317
	ID string `json:"id"`
	// phase of the node: Running if it goes on waiting.
	// +required
	// +kubebuilder:validation:Enum=Running;Succeeded;Failed;Error
	Phase string `json:"phase"`
	// message of the node.
	// +optional
	Message string `json:"message,omitempty"`
	// parameters are the values of output parameters that waited for one.
	// +optional
	// +listType=map
	// +listMapKey=name
	Parameters []Parameter `json:"parameters,omitempty"`
}

// Parameter is the value of a parameter of a Workflow.
type Parameter struct {
	// name of the parameter.
	// +required
	Name string `json:"name"`
	// value of the parameter; without one it stays as it is.
	// +optional
	Value *string `json:"value,omitempty"`
}

// Retry says what of a Workflow that has finished is run again.
type Retry struct {
	// reportDigest is that of the report that was retried. If the remote Workflow has changed since, it is not.
	// +required
	// +kubebuilder:validation:MaxLength=64
	ReportDigest string `json:"reportDigest"`
	// removedNodes are the ids of the nodes that run anew, if at all. Their pods are deleted first.
	// +optional
	// +listType=atomic
	RemovedNodes []string `json:"removedNodes,omitempty"`
	// resetNodes are the ids of the nodes that contain others and go on.
	// +optional
	// +listType=atomic
	ResetNodes []string `json:"resetNodes,omitempty"`
	// parameters are those of spec.arguments, if the user has changed them.
	// +optional
	// +listType=atomic
	Parameters []Parameter `json:"parameters,omitempty"`
	// argumentsDigest identifies them.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ArgumentsDigest string `json:"argumentsDigest,omitempty"`
}

// Controls are the fields of a Workflow's spec by which its user controls a run that goes on.
type Controls struct {
	// suspend keeps Argo from starting anything more of the Workflow.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
	// shutdown ends the Workflow: Stop with its exit handlers, Terminate without them. It is not taken back.
	// +optional
	Shutdown Shutdown `json:"shutdown,omitempty"`
	// priority of the Workflow among those that wait for Argo's controller.
	// +optional
	Priority *int32 `json:"priority,omitempty"`
	// activeDeadlineSeconds is for how long the Workflow may run, in seconds since its start.
	// +optional
	ActiveDeadlineSeconds *int64 `json:"activeDeadlineSeconds,omitempty"`
}

// Shutdown says how a Workflow is ended before it has finished.
//
// +kubebuilder:validation:Enum=Stop;Terminate
type Shutdown string

// The ways in which a Workflow is ended.
const (
	ShutdownStop      Shutdown = "Stop"
	ShutdownTerminate Shutdown = "Terminate"
)

// Removal says what becomes of a remote Workflow whose RemoteWorkflow is being deleted.
//
// +kubebuilder:validation:Enum=Terminate;Leave
type Removal string

// The ways in which a remote Workflow is removed.
const (
	RemovalTerminate Removal = "Terminate"
	RemovalLeave     Removal = "Leave"
)

// Reporting says how the status of a run comes back to the hub.
//
// +kubebuilder:validation:Enum=Agent;Feedback
type Reporting string

// The ways in which a status comes back.
const (
	ReportingAgent    Reporting = "Agent"
	ReportingFeedback Reporting = "Feedback"
)

// WorkflowReference names one incarnation of a Workflow on the hub.
type WorkflowReference struct {
	// namespace of the Workflow.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// name of the Workflow.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// uid of the Workflow.
	// +required
	UID types.UID `json:"uid"`
}

// RemoteReference names the Workflow on the managed cluster.
type RemoteReference struct {
	// namespace of the Workflow.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// name of the Workflow.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// RemoteWorkflowStatus is what the agent sees on the managed cluster.
type RemoteWorkflowStatus struct {
	// remoteUID is the UID of the one remote Workflow that may run. It is set before that starts and never changes.
	// +optional
	// +kubebuilder:validation:XValidation:rule="size(self) <= 64",message="a UID has at most 64 characters"
	RemoteUID types.UID `json:"remoteUID,omitempty"`

	// phase of the Workflow, as Argo reports it.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Phase string `json:"phase,omitempty"`
	// progress of the Workflow: finished/total nodes.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Progress string `json:"progress,omitempty"`
	// message of the Workflow, cut at 1024 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// startedAt is when the Workflow started.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// finishedAt is when the Workflow finished.
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`
	// nodes counts the Workflow's nodes by their phase.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(phase, size(phase) <= 64)",message="a phase has at most 64 characters"
	Nodes map[string]int32 `json:"nodes,omitempty"`

	// labels that spec.workflowMetadata of the Workflow has set on it, resolved.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(key, size(key) <= 317 && size(self[key]) <= 63)",message="a key has at most 317 characters, a value 63"
	Labels map[string]string `json:"labels,omitempty"`

	// observedGeneration is the generation of the spec that the agent has acted on.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// contractRevision is the newest revision of RemoteWorkflow that the agent knows all of.
	// +optional
	ContractRevision int32 `json:"contractRevision,omitempty"`

	// edits are the answers to spec.edits.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=16
	Edits []EditAnswer `json:"edits,omitempty"`

	// report is the whole status of the Workflow, as one opaque field.
	// +optional
	Report *Report `json:"report,omitempty"`

	// spec is that of the remote Workflow, as long as spec.wantSpec asks for it.
	// +optional
	Spec *ReportedSpec `json:"spec,omitempty"`

	// conditions of the run, as the agent sees them.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ReportedSpec is the spec of a remote Workflow.
type ReportedSpec struct {
	// data is the spec: JSON, gzip'd, as one opaque field. Without it, it is too large to be reported.
	// +optional
	Data []byte `json:"data,omitempty"`
}

// EditAnswer says what has become of an edit.
type EditAnswer struct {
	// id of the edit.
	// +required
	// +kubebuilder:validation:MaxLength=63
	ID string `json:"id"`
	// outcome is Applied, once, or Refused: then the remote Workflow has not changed. Pods that a retry was to replace may be gone.
	// +required
	Outcome EditOutcome `json:"outcome"`
	// message says why it was refused, and what to do.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// EditOutcome is what has become of an edit.
//
// +kubebuilder:validation:Enum=Applied;Refused
type EditOutcome string

// The outcomes of an edit.
const (
	EditApplied EditOutcome = "Applied"
	EditRefused EditOutcome = "Refused"
)

// Report is a Workflow's whole status and what it was read from. The hub accepts it only for the run that
// it was made for.
type Report struct {
	// workflowUID is the UID of the hub Workflow that was run.
	// +required
	// +kubebuilder:validation:XValidation:rule="size(self) <= 64",message="a UID has at most 64 characters"
	WorkflowUID types.UID `json:"workflowUID"`
	// attempt is the attempt to run it.
	// +required
	Attempt int32 `json:"attempt"`
	// remoteUID is the UID of the reported remote Workflow.
	// +required
	// +kubebuilder:validation:XValidation:rule="size(self) <= 64",message="a UID has at most 64 characters"
	RemoteUID types.UID `json:"remoteUID"`
	// data is the Workflow's status: JSON, gzip'd. It is opaque so that a status with thousands of nodes
	// costs one field on the wire and in etcd.
	// +required
	Data []byte `json:"data"`
	// digest is the SHA-256 of data, in hexadecimal, by which equal reports are told without the data.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Digest string `json:"digest,omitempty"`
}
