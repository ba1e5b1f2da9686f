{{/* The name of the manager's objects. */}}
{{- define "hub.fullname" -}}
{{- default (printf "%s-hub" (.Release.Name | trunc 49 | trimSuffix "-")) .Values.fullnameOverride -}}
{{- end }}

{{/* The name of what exists once in the hub, as OCM names such objects. */}}
{{- define "hub.clusterName" -}}
open-cluster-management:{{ include "hub.fullname" . }}
{{- end }}

{{/* What selects the pods of the release. */}}
{{- define "hub.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "hub.labels" -}}
{{ include "hub.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
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
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "hub.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* The newest version of OCM's addon API that the hub serves. */}}
{{- define "hub.addonAPIVersion" -}}
addon.open-cluster-management.io/{{ .Capabilities.APIVersions.Has "addon.open-cluster-management.io/v1beta1" | ternary "v1beta1" "v1alpha1" }}
{{- end }}

{{/* The annotations of what Helm creates before it uninstalls the chart, with the weight that says in which order. */}}
{{- define "hub.uninstallHook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* Whether who asks may do as much without what a policy refuses: the manager, its uninstall hook and administrators. */}}
{{- define "hub.mayActAsManager" -}}
authorizer.group("workflow.open-cluster-management.io").resource("remoteworkflows").check("create").allowed()
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

{{/* The API version of MutatingAdmissionPolicies, "" where the server has none. */}}
{{- define "hub.mutatingVersion" -}}
{{- $found := "" }}
{{- range list "v1" "v1beta1" }}
{{- $version := printf "admissionregistration.k8s.io/%s" . }}
{{- if and (not $found) ($.Capabilities.APIVersions.Has (printf "%s/MutatingAdmissionPolicy" $version)) }}
{{- $found = $version }}
{{- end }}
{{- end }}
{{- $found }}
{{- end }}
