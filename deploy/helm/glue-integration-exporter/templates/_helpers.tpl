{{- define "exporter.name" -}}
{{ .Values.nameOverride | default .Chart.Name }}
{{- end -}}

{{- /* At most 44 characters: the names of further replicas add up to 8, and Kubernetes adds 11 in a label of at most 63. */ -}}
{{- define "exporter.fullname" -}}
{{- $name := include "exporter.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 44 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" (.Release.Name | trunc 18 | trimSuffix "-") $name | trunc 44 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* The component excludes the pod of the Helm test. */ -}}
{{- define "exporter.selector" -}}
app.kubernetes.io/name: {{ include "exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: exporter
{{- end -}}

{{- /* `labels` contains more labels for this object. They override commonLabels. */ -}}
{{- define "exporter.labels" -}}
{{- $own := include "exporter.ownLabels" . | fromYaml -}}
{{- $further := merge (dict) (.labels | default dict) (.Values.commonLabels | default dict) -}}
{{- range $label, $_ := $own -}}
{{- if hasKey $further $label -}}
{{- fail (printf "the chart sets the label %s itself: remove it from commonLabels, podLabels, monitor.labels and prometheusRule.labels" $label) -}}
{{- end -}}
{{- end -}}
{{ toYaml (merge $own $further) }}
{{- end -}}

{{- define "exporter.ownLabels" -}}
{{ include "exporter.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* One job for each release, because alerts count shards and missing exporters per job. It contains the chart's name, which the alerts match. */ -}}
{{- define "exporter.job" -}}
{{- $name := include "exporter.fullname" . -}}
{{ .Release.Namespace }}/{{ ternary $name (printf "%s/%s" .Chart.Name $name) (contains .Chart.Name $name) }}
{{- end -}}

{{- define "exporter.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* Client certificates need TLS. */ -}}
{{- define "exporter.scheme" -}}
{{ ternary "HTTPS" .Values.web.scheme (.Values.web.clientCertificatesRequired | default false) }}
{{- end -}}

{{- define "exporter.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "exporter.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{- define "exporter.kind" -}}
{{- if or (gt (int .Values.shards) 1) (eq .Values.storage.type "persistentVolumeClaim") -}}
StatefulSet
{{- else -}}
Deployment
{{- end -}}
{{- end -}}

{{- define "exporter.pods" -}}
{{ mul (int .Values.shards) (int .Values.replicas) }}
{{- end -}}

{{- /* The configuration, with storage.path unless nothing is stored. */ -}}
{{- define "exporter.config" -}}
{{- $config := required "config: set the configuration of the exporter, or name a ConfigMap in existingConfigMap" .Values.config | deepCopy -}}
{{- if ne .Values.storage.type "none" -}}
{{- $_ := set $config "storage" (dict "path" "/var/lib/glue-integration-exporter/state") -}}
{{- end -}}
{{ toYaml $config }}
{{- end -}}
