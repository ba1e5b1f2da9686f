{{/* name of everything in the addon's namespace */}}
{{- define "agent.name" -}}
argo-workflow-multicluster-agent
{{- end }}

{{/* beginning of the names of cluster-wide RBAC: with the namespace, for each of two hubs may have its agent here */}}
{{- define "agent.rbac" -}}
open-cluster-management:argo-workflow-multicluster:{{ .Release.Namespace }}
{{- end }}

{{- define "agent.selector" -}}
app.kubernetes.io/name: argo-workflow-multicluster
app.kubernetes.io/component: agent
{{- end }}

{{/* labels of everything that the agent consists of */}}
{{- define "agent.labels" -}}
{{ include "agent.selector" . }}
app.kubernetes.io/part-of: argo-workflow-multicluster
{{- end }}

{{/* whether a variable, which is a string, is true */}}
{{- define "agent.isTrue" -}}
{{- if eq (toString .) "true" }}true{{ end -}}
{{- end }}

{{/* port of the metrics */}}
{{- define "agent.metricsPort" -}}
{{- if include "agent.isTrue" .Values.metricsSecure }}8443{{ else }}8080{{ end -}}
{{- end }}

{{/* resources of a container: those of the last requirement of the AddOnDeploymentConfig that matches it. Called with a
     list of the chart's values and the container's id. */}}
{{- define "agent.resources" -}}
{{- $values := first . -}}
{{- $id := last . -}}
{{- $resources := dict "requests" (dict "cpu" "50m" "memory" "64Mi") "limits" (dict "memory" "1Gi") -}}
{{- range get $values.global "resourceRequirements" -}}
{{- if regexMatch .containerIDRegex $id }}{{ $resources = .resources }}{{ end -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end }}

{{/* what the pods of the agent and of its pre-delete hook have in common */}}
{{- define "agent.pod" -}}
serviceAccountName: {{ include "agent.name" . }}
# No user id: the image has one, 65532, and OpenShift gives each namespace its own.
securityContext:
  runAsNonRoot: true
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.imagePullSecret }}
imagePullSecrets:
- name: {{ . | quote }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with get .Values.global "nodeSelector" }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with get .Values "tolerations" }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "agent.container" -}}
image: {{ .Values.image | quote }}
imagePullPolicy: IfNotPresent
securityContext:
  allowPrivilegeEscalation: false
  capabilities:
    drop: [ALL]
  privileged: false
  readOnlyRootFilesystem: true
env:
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- $proxy := get .Values.global "proxyConfig" }}
{{- if $proxy }}
{{- range $name := list "HTTP_PROXY" "HTTPS_PROXY" }}
{{- with get $proxy $name }}
- name: {{ $name }}
  value: {{ . | quote }}
{{- end }}
{{- end }}
# The cluster's own API server is never behind the proxy.
- name: NO_PROXY
  value: {{ list (get $proxy "NO_PROXY") "$(KUBERNETES_SERVICE_HOST)" | compact | join "," | quote }}
{{- end }}
{{- end }}

{{/* pod template of the pre-delete hook */}}
{{- define "agent.release" -}}
metadata:
  labels:
    app.kubernetes.io/name: argo-workflow-multicluster
    app.kubernetes.io/component: agent-release
    app.kubernetes.io/part-of: argo-workflow-multicluster
spec:
  {{- include "agent.pod" . | nindent 2 }}
  restartPolicy: OnFailure
  containers:
  - name: release
    args:
    - agent
    - release
    - --cluster-name={{ .Values.clusterName }}
    - --hub-id={{ .Values.hubID }}
    - --log-format={{ .Values.logFormat }}
    {{- include "agent.container" . | nindent 4 }}
    resources:
      {{- include "agent.resources" (list .Values "jobs:argo-workflow-multicluster-agent-release:release") | nindent 6 }}
{{- end }}
