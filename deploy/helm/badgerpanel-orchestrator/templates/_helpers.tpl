{{/* Names are fixed: there is one orchestrator in a cluster, and its identity lies under a name that it knows. */}}
{{- define "orchestrator.name" -}}badger-orchestrator{{- end }}

{{- define "orchestrator.selector" -}}
app.kubernetes.io/name: badgerpanel-orchestrator
{{- end }}

{{- define "orchestrator.labels" -}}
{{ include "orchestrator.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "orchestrator.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "orchestrator.tokenSecret" -}}
{{ .Values.existingTokenSecret | default (printf "%s-enrolment" (include "orchestrator.name" .)) }}
{{- end }}

{{- define "orchestrator.config" -}}
{{- if gt (int .Values.networking.nodeportRangeStart) (int .Values.networking.nodeportRangeEnd) }}
{{- fail "networking.nodeportRangeStart is above networking.nodeportRangeEnd" }}
{{- end -}}
panel_url: {{ .Values.panelUrl | quote }}
image: {{ include "orchestrator.image" . | quote }}
namespace_prefix: {{ .Values.namespacePrefix | quote }}
storage:
  storage_class: {{ .Values.storage.storageClass | quote }}
  access_mode: {{ .Values.storage.accessMode | quote }}
networking:
  service_type: {{ .Values.networking.serviceType | quote }}
  nodeport_range_start: {{ .Values.networking.nodeportRangeStart | int }}
  nodeport_range_end: {{ .Values.networking.nodeportRangeEnd | int }}
  external_address: {{ .Values.networking.externalAddress | quote }}
  data_service: {{ .Values.networking.dataService | quote }}
{{- with .Values.serverResources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
