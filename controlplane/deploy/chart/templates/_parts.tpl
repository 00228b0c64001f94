{{- define "nicproxy.labels" -}}
app.kubernetes.io/name: nicproxy
app.kubernetes.io/component: {{ .Values.mode }}
{{- end }}

{{- define "nicproxy.selector" -}}
app.kubernetes.io/name: nicproxy
{{- end }}

{{- /* Combinations that would not do what they say. */ -}}
{{- define "nicproxy.check" -}}
{{- if not (has .Values.mode (list "node" "central")) }}
{{- fail (printf "mode is %q: it is node or central" .Values.mode) }}
{{- end }}
{{- if not (has .Values.embedded.program (list "" "pna" "v1model")) }}
{{- fail (printf "embedded.program is %q: it is empty, pna or v1model" .Values.embedded.program) }}
{{- end }}
{{- if and .Values.embedded.program (eq .Values.mode "central") }}
{{- fail "embedded.program: an embedded NIC has a node's interfaces; set mode to node" }}
{{- end }}
{{- if and (eq .Values.mode "central") (not (hasKey .Values.config "nics")) }}
{{- fail "config.nics: central mode programs the NICs that it names, by node; set it, or set mode to node" }}
{{- end }}
{{- if and (eq .Values.mode "node") (hasKey .Values.config "nics") }}
{{- fail "config.nics: every node's nicproxy would program all of them; set mode to central" }}
{{- end }}
{{- if and .Values.embedded.ports (not .Values.embedded.program) }}
{{- fail "embedded.ports: set embedded.program too" }}
{{- end }}
{{- if and .Values.networkPolicy.enabled (eq .Values.mode "node") }}
{{- fail "networkPolicy.enabled: no policy applies to pods in the host's network; set mode to central" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled (not .Values.metrics.exposed) }}
{{- fail "serviceMonitor.enabled: nobody can scrape metrics on loopback; set metrics.exposed" }}
{{- end }}
{{- end }}

{{- define "nicproxy.pod" -}}
{{- include "nicproxy.check" . -}}
metadata:
  labels:
    {{- include "nicproxy.labels" . | nindent 4 }}
  annotations:
    {{- if eq .Values.mode "node" }}
    # A change of the configuration replaces the pods.
    {{- else }}
    # A change of the configuration replaces the pods, but for `nics`: NICs come and go while they run.
    {{- end }}
    checksum/config: {{ omit .Values.config "nics" | toYaml | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: nicproxy
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:{{ toYaml . | nindent 4 }}
  {{- end }}
  {{- if eq .Values.mode "node" }}
  # The NIC's server, the node's addresses and the health check node ports are the host's.
  hostNetwork: true
  dnsPolicy: Default
  tolerations:
    - {operator: Exists}
  {{- else }}
  {{- with .Values.tolerations }}
  tolerations:{{ toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:{{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:{{ toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- if .Values.embedded.program }}
    # Capabilities of a container count for root only.
    runAsUser: 0
    {{- else }}
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    # Keys in a Secret are readable to the group.
    fsGroup: 65532
    {{- end }}
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: nicproxy
      image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - run
        - --in-cluster
        - --config=/etc/nicproxy/config.yaml
        - --log-format={{ .Values.logFormat }}
        - --metrics-bind-address={{ ternary "0.0.0.0" "127.0.0.1" .Values.metrics.exposed }}:{{ .Values.metrics.port }}
        {{- with .Values.embedded.program }}
        - --embedded={{ . }}
        {{- end }}
        {{- range .Values.embedded.ports }}
        - {{ printf "--embedded-port=%s" . | quote }}
        {{- end }}
        {{- range .Values.extraArgs }}
        - {{ . | quote }}
        {{- end }}
      env:
        {{- if eq .Values.mode "node" }}
        - name: NODE_NAME
          valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
        {{- end }}
        {{- with .Values.apiServer.host }}
        # The API server's own address: the Service `kubernetes` answers only after nicproxy has programmed it.
        - {name: KUBERNETES_SERVICE_HOST, value: {{ . | quote }}}
        - {name: KUBERNETES_SERVICE_PORT, value: {{ $.Values.apiServer.port | quote }}}
        {{- end }}
      ports:
        - {name: healthz, containerPort: 10256}
        {{- if .Values.metrics.exposed }}
        - {name: metrics, containerPort: {{ .Values.metrics.port }}}
        {{- end }}
      livenessProbe:
        httpGet: {path: /livez, port: healthz{{ if eq .Values.mode "node" }}, host: 127.0.0.1{{ end }}}
        initialDelaySeconds: 10
        periodSeconds: 10
        failureThreshold: 3
      readinessProbe:
        httpGet: {path: /healthz, port: healthz{{ if eq .Values.mode "node" }}, host: 127.0.0.1{{ end }}}
        periodSeconds: 5
      resources:{{ toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        {{- if .Values.embedded.program }}
        capabilities: {drop: [ALL], add: [NET_RAW, NET_ADMIN]}
        {{- else }}
        capabilities: {drop: [ALL]}
        {{- end }}
      volumeMounts:
        - {name: config, mountPath: /etc/nicproxy, readOnly: true}
        {{- if .Values.tls.secretName }}
        - {name: tls, mountPath: /etc/nicproxy-tls, readOnly: true}
        {{- end }}
  volumes:
    - name: config
      configMap: {name: nicproxy}
    {{- if .Values.tls.secretName }}
    - name: tls
      secret: {secretName: {{ .Values.tls.secretName }}, defaultMode: 0440}
    {{- end }}
{{- end }}
