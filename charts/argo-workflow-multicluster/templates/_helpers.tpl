{{/* The name of the chart, as labels say it. */}}
{{- define "hub.name" -}}
{{- default .Chart.Name .Values.nameOverride -}}
{{- end }}

{{/* The name of the manager's objects. */}}
{{- define "hub.fullname" -}}
{{- default (printf "%s-hub" (.Release.Name | trunc 49 | trimSuffix "-")) .Values.fullnameOverride -}}
{{- end }}

{{/* The name of what exists once in the hub, as OCM names such objects. */}}
{{- define "hub.clusterName" -}}
open-cluster-management:{{ include "hub.fullname" . }}
{{- end }}

{{/* The ServiceAccount of the manager. */}}
{{- define "hub.serviceAccount" -}}
{{- default (include "hub.fullname" .) .Values.serviceAccount.name -}}
{{- end }}

{{/* What selects the pods of the release. */}}
{{- define "hub.selectorLabels" -}}
app.kubernetes.io/name: {{ include "hub.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* What selects the manager's pods. */}}
{{- define "hub.managerLabels" -}}
{{ include "hub.selectorLabels" . }}
app.kubernetes.io/component: hub
{{- end }}

{{/* The labels of a pod, of the component that is named, with more "labels" from a value. No value changes what selectors select by. No
version of the chart: it would replace pods that stay the same. */}}
{{- define "hub.podLabels" -}}
{{- $labels := dict "app.kubernetes.io/part-of" .root.Chart.Name "app.kubernetes.io/version" .root.Chart.AppVersion }}
{{- $labels = mergeOverwrite $labels (default dict .root.Values.commonLabels) (default dict .labels) }}
{{- $labels = mergeOverwrite $labels (include "hub.selectorLabels" .root | fromYaml) (dict "app.kubernetes.io/component" .component) }}
{{- toYaml $labels }}
{{- end }}

{{/* The labels of all other objects of a component, and those that the object has for others to find it by. */}}
{{- define "hub.componentLabels" -}}
{{- $labels := dict "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") }}
{{- $labels = mergeOverwrite $labels (include "hub.podLabels" . | fromYaml) }}
{{- $labels = mergeOverwrite $labels (dict "app.kubernetes.io/managed-by" .root.Release.Service) (default dict .own) }}
{{- toYaml $labels }}
{{- end }}

{{- define "hub.labels" -}}
{{ include "hub.componentLabels" (dict "root" . "component" "hub") }}
{{- end }}

{{- define "hub.uninstallLabels" -}}
{{ include "hub.componentLabels" (dict "root" . "component" "uninstall") }}
{{- end }}

{{/* Whether an object on the hub is of this release. */}}
{{- define "hub.isOfRelease" -}}
{{- $annotations := dig "metadata" "annotations" dict .object }}
{{- and (eq (get $annotations "meta.helm.sh/release-name") .root.Release.Name)
        (eq (get $annotations "meta.helm.sh/release-namespace") .root.Release.Namespace) -}}
{{- end }}

{{- define "hub.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{/* What every pod of the release needs of its node, and who it is there. */}}
{{- define "hub.podSpec" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What every container of the release is given by its values. */}}
{{- define "hub.container" -}}
image: {{ include "hub.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.resources }}
resources: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.securityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The annotations of what Helm creates before it uninstalls the chart, with the weight that says in which order. */}}
{{- define "hub.uninstallHook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* A duration such as 1h30m, in seconds. */}}
{{- define "hub.seconds" -}}
{{- $seconds := 0 }}
{{- range regexFindAll "[0-9]+[smh]" . -1 }}
{{- $seconds = add $seconds (mul (atoi (regexFind "[0-9]+" .)) (get (dict "s" 1 "m" 60 "h" 3600) (regexFind "[smh]" .))) }}
{{- end }}
{{- $seconds }}
{{- end }}

{{/* Whether who asks may do as much without what a policy refuses: the manager, its uninstall hook and administrators. */}}
{{- define "hub.mayActAsManager" -}}
authorizer.group("workflow.open-cluster-management.io").resource("remoteworkflows").check("create").allowed()
{{- end }}

{{/* The annotations that the manager reads of a ManagedClusterSetBinding, as a JSON array. */}}
{{- define "hub.bindingAnnotations" -}}
["workflows.argoproj.io/max-workflows", "workflows.argoproj.io/namespace", "workflows.argoproj.io/executor",
"workflows.argoproj.io/create-namespace"]
{{- end }}

{{/* Which of these annotations the request sets or changes, as CEL. A value that was there before is nobody's fault now. */}}
{{- define "hub.changedAnnotations" -}}
{{ toJson . }}.filter(key,
key in object.metadata.?annotations.orValue({}) &&
(oldObject == null || oldObject.metadata.?annotations[key] != object.metadata.?annotations[key]))
{{- end }}

{{/* What the name of a namespace, a cluster or a ServiceAccount may be, as regular expressions. */}}
{{- define "hub.dns1123Label" -}}
[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?
{{- end }}
{{- define "hub.dns1123Subdomain" -}}
[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*
{{- end }}

{{/* The API version of MutatingAdmissionPolicies, "" where the server has none. Kubernetes serves v1 from 1.36 on. */}}
{{- define "hub.mutatingVersion" -}}
{{- $group := "admissionregistration.k8s.io" }}
{{- if or (.Capabilities.APIVersions.Has (printf "%s/v1/MutatingAdmissionPolicy" $group)) (semverCompare ">=1.36-0" .Capabilities.KubeVersion.Version) }}
{{- printf "%s/v1" $group }}
{{- else if .Capabilities.APIVersions.Has (printf "%s/v1beta1/MutatingAdmissionPolicy" $group) }}
{{- printf "%s/v1beta1" $group }}
{{- end }}
{{- end }}

{{/* The Argo controllers on the hub that take every Workflow without an instance id, as the namespaces of the Leases that they have renewed
within a minute. */}}
{{- define "hub.argoNamespaces" -}}
{{- $namespaces := list }}
{{- range (lookup "coordination.k8s.io/v1" "Lease" "" "").items }}
{{- $renewed := dig "spec" "renewTime" "" . }}
{{- if and (eq .metadata.name "workflow-controller") $renewed }}
{{- if lt (sub (now | unixEpoch) (toDate "2006-01-02T15:04:05Z07:00" $renewed | unixEpoch)) 60 }}
{{- $namespaces = append $namespaces .metadata.namespace }}
{{- end }}
{{- end }}
{{- end }}
{{- join ", " $namespaces }}
{{- end }}
