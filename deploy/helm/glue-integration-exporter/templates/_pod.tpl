{{- /* The pod template of the Deployment and the StatefulSets. `copy` is the number of the StatefulSet, if there are several. */ -}}
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
    {{- include "exporter.labels" (merge (dict "labels" .Values.podLabels) .) | nindent 4 }}
    {{- with .copy }}
    glue-integration-exporter/copy: {{ . | quote }}
    {{- end }}
spec:
  serviceAccountName: {{ include "exporter.serviceAccount" . }}
  # The exporter does not use the Kubernetes API. IRSA and Pod Identity mount their own tokens.
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
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
        {{- if .Values.web.clientCertificatesRequired }}
        # The kubelet has no client certificate, so its probes use this socket, which needs none.
        - --web.listen-address=:10058
        - --web.listen-address=unix:/run/glue-integration-exporter/probe
        {{- if not (has "--web.probes-without-auth" .Values.extraArgs) }}
        - --web.probes-without-auth
        {{- end }}
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
      {{- range $probe, $path := dict "startupProbe" "/-/healthy" "livenessProbe" "/-/healthy" "readinessProbe" "/-/ready" }}
      {{- $given := index $.Values $probe }}
      {{- if not (kindIs "invalid" $given) }}
      {{ $probe }}:
        {{- if not (or $given.exec $given.grpc $given.httpGet $given.tcpSocket) }}
        {{- if $.Values.web.clientCertificatesRequired }}
        exec: {command: [/usr/bin/glue-integration-exporter, health, "--url=unix:/run/glue-integration-exporter/probe:{{ $path }}"]}
        {{- else }}
        httpGet: {path: {{ $path }}, port: metrics, scheme: {{ include "exporter.scheme" $ }}}
        {{- end }}
        {{- end }}
        {{- with $given }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
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
        {{- if .Values.web.clientCertificatesRequired }}
        - name: probe-socket
          mountPath: /run/glue-integration-exporter
        {{- end }}
        {{- if ne .Values.storage.type "none" }}
        - name: state
          mountPath: /var/lib/glue-integration-exporter
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
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
    {{- if .Values.web.clientCertificatesRequired }}
    - name: probe-socket
      emptyDir: {}
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
