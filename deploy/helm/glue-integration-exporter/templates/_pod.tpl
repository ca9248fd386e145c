{{- /* The pods' template, of a Deployment as of a StatefulSet; `copy` is the number of the latter, where there are several. */ -}}
{{- define "exporter.pod" -}}
metadata:
  annotations:
    kubectl.kubernetes.io/default-container: exporter
    {{- if not .Values.existingConfigMap }}
    checksum/config: {{ include "exporter.config" . | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "exporter.labels" . | nindent 4 }}
    {{- with .copy }}
    glue-integration-exporter/copy: {{ . | quote }}
    {{- end }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "exporter.serviceAccount" . }}
  # It never asks Kubernetes. What IRSA and Pod Identity mount is theirs.
  automountServiceAccountToken: false
  enableServiceLinks: false
  # It stops within 5 s.
  terminationGracePeriodSeconds: 10
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  containers:
    - name: exporter
      image: {{ include "exporter.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - --config.file=/etc/glue-integration-exporter/config/config.yaml
        - --log.level={{ .Values.log.level }}
        - --log.format={{ .Values.log.format }}
        {{- if gt (int .Values.shards) 1 }}
        - --shard.total={{ .Values.shards }}
        {{- end }}
        {{- if .Values.web.configSecret }}
        - --web.config.file=/etc/glue-integration-exporter/web/web-config.yml
        {{- end }}
        {{- with .Values.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      env:
        - name: POD_NAME
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        {{- with .Values.awsRegion }}
        - name: AWS_REGION
          value: {{ . }}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: metrics
          containerPort: 10058
          protocol: TCP
      {{- $scheme := .Values.web.scheme }}
      {{- range $probe, $path := dict "startupProbe" "/-/healthy" "livenessProbe" "/-/healthy" "readinessProbe" "/-/ready" }}
      {{ $probe }}:
        httpGet: {path: {{ $path }}, port: metrics, scheme: {{ $scheme }}}
        {{- toYaml (index $.Values $probe) | nindent 8 }}
      {{- end }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/glue-integration-exporter/config
          readOnly: true
        {{- if .Values.externalIdsSecret }}
        - name: external-ids
          mountPath: /etc/glue-integration-exporter/external-ids
          readOnly: true
        {{- end }}
        {{- if .Values.web.configSecret }}
        - name: web
          mountPath: /etc/glue-integration-exporter/web
          readOnly: true
        {{- end }}
        {{- if ne .Values.storage.type "none" }}
        - name: state
          mountPath: /var/lib/glue-integration-exporter
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ .Values.existingConfigMap | default (include "exporter.fullname" .) }}
    {{- with .Values.externalIdsSecret }}
    - name: external-ids
      secret: {secretName: {{ . }}, defaultMode: 0440}
    {{- end }}
    {{- with .Values.web.configSecret }}
    - name: web
      secret: {secretName: {{ . }}, defaultMode: 0440}
    {{- end }}
    {{- if eq .Values.storage.type "emptyDir" }}
    - name: state
      emptyDir: {}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
  {{- else if gt (int (include "exporter.pods" .)) 1 }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "exporter.selector" . | nindent 10 }}
  {{- end }}
{{- end -}}
