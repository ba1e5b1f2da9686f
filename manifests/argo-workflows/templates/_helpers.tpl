{{/* whether a variable, which is a string, is true */}}
{{- define "argo.isTrue" -}}
{{- if eq (toString .) "true" }}true{{ end -}}
{{- end }}

{{/* labels of everything that Argo Workflows consists of */}}
{{- define "argo.labels" -}}
app.kubernetes.io/part-of: argo-workflows
workflow.open-cluster-management.io/installed-by-hub: {{ .Values.hubID | quote }}
{{- end }}

{{/* an image, with the version unless it has a tag or digest. Called with a list of the chart's values and the image. */}}
{{- define "argo.image" -}}
{{- $values := first . -}}
{{- $image := last . -}}
{{- if regexMatch "(@|:[^/]+$)" $image }}{{ $image }}{{ else }}{{ $image }}:{{ $values.argoVersion }}{{ end -}}
{{- end }}

{{/* a variable that is a map in YAML or JSON, as YAML. Called with a list of its name and its text. */}}
{{- define "argo.map" -}}
{{- $map := last . | fromYaml -}}
{{- if hasKey $map "Error" -}}
{{- fail (printf "variable %s is not a map in YAML or JSON: %s" (first .) $map.Error) -}}
{{- end -}}
{{- toYaml $map -}}
{{- end }}

{{/* the names in a variable that is a list, separated by commas, as a YAML list */}}
{{- define "argo.names" -}}
{{- $names := list -}}
{{- range splitList "," . -}}
{{- with trim . }}{{ $names = append $names . }}{{ end -}}
{{- end -}}
{{- toYaml (uniq $names) -}}
{{- end }}

{{/* resources of a container: those of the last requirement of the AddOnDeploymentConfig that matches it. Called with a
     list of the chart's values, the container's id and what it has by default. */}}
{{- define "argo.resources" -}}
{{- $values := index . 0 -}}
{{- $id := index . 1 -}}
{{- $resources := index . 2 -}}
{{- range get $values.global "resourceRequirements" -}}
{{- if regexMatch .containerIDRegex $id }}{{ $resources = .resources }}{{ end -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end }}

{{/* what all pods have in common */}}
{{- define "argo.pod" -}}
# No user id: the images have one, and OpenShift gives each namespace its own.
securityContext:
  runAsNonRoot: true
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.imagePullSecret }}
imagePullSecrets:
- name: {{ . | quote }}
{{- end }}
nodeSelector:
  {{- toYaml (merge dict (get .Values.global "nodeSelector" | default dict) (dict "kubernetes.io/os" "linux")) | nindent 2 }}
{{- with get .Values "tolerations" }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "argo.securityContext" -}}
securityContext:
  allowPrivilegeEscalation: false
  capabilities:
    drop: [ALL]
  privileged: false
  readOnlyRootFilesystem: true
{{- end }}

{{/* flags that restrict controller and argo-server to a namespace */}}
{{- define "argo.scope" -}}
{{- with .Values.managedNamespace }}
- --namespaced
- --managed-namespace={{ . }}
{{- end }}
{{- end }}
