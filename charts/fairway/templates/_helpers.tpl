{{- define "fairway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 48 | trimSuffix "-" -}}
{{- end -}}

{{- define "fairway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" -}}
{{- else if contains (include "fairway.name" .) .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "fairway.name" .) | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The gateway's Deployment, Service and the rest of it. */}}
{{- define "fairway.gateway" -}}
{{- include "fairway.fullname" . }}-gateway
{{- end -}}

{{/* A name for an object of no namespace. */}}
{{- define "fairway.clustername" -}}
{{- printf "%s-%s" .Release.Namespace (include "fairway.gateway" .) -}}
{{- end -}}

{{- define "fairway.serviceaccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "fairway.gateway" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What never changes of an object, to select it by. */}}
{{- define "fairway.instance" -}}
app.kubernetes.io/name: {{ include "fairway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "fairway.selector" -}}
{{ include "fairway.instance" . }}
app.kubernetes.io/component: gateway
{{- end -}}

{{- define "fairway.labels" -}}
{{ include "fairway.instance" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: fairway
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "fairway.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* certManager, selfManaged, existingSecret or insecure. */}}
{{- define "fairway.certificates" -}}
{{- if ne .Values.certificates.mode "auto" -}}
{{- .Values.certificates.mode -}}
{{- else if .Capabilities.APIVersions.Has "cert-manager.io/v1" -}}
certManager
{{- else -}}
selfManaged
{{- end -}}
{{- end -}}

{{/* The Secret whose tls.crt is the authority that Envoy Gateway trusts. */}}
{{- define "fairway.casecret" -}}
{{- $c := .Values.certificates -}}
{{- $mode := include "fairway.certificates" . -}}
{{- if eq $mode "existingSecret" -}}
{{- required "certificates.existingSecret.caSecretName is required with mode existingSecret" $c.existingSecret.caSecretName -}}
{{- else if and (eq $mode "certManager") $c.certManager.issuerRef -}}
{{- required "certificates.certManager.caSecretName is required with issuerRef" $c.certManager.caSecretName -}}
{{- else -}}
{{- include "fairway.fullname" . }}-ca
{{- end -}}
{{- end -}}

{{/* The Secret with the server's certificate; empty when Fairway makes its own. */}}
{{- define "fairway.tlssecret" -}}
{{- $mode := include "fairway.certificates" . -}}
{{- if eq $mode "existingSecret" -}}
{{- required "certificates.existingSecret.name is required with mode existingSecret" .Values.certificates.existingSecret.name -}}
{{- else if eq $mode "certManager" -}}
{{- include "fairway.fullname" . }}-tls
{{- end -}}
{{- end -}}

{{- define "fairway.fqdn" -}}
{{- printf "%s.%s.svc.%s" (include "fairway.gateway" .) .Release.Namespace .Values.gateway.clusterDomain -}}
{{- end -}}

{{/* Restricted, for the pod and for its container. */}}
{{- define "fairway.podsecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "fairway.containersecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* gRPC health checks of a container of ours. */}}
{{- define "fairway.probes" -}}
startupProbe:
  grpc: {port: 9003, service: liveness}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  grpc: {port: 9003, service: liveness}
  periodSeconds: 10
  timeoutSeconds: 3
readinessProbe:
  grpc: {port: 9003, service: readiness}
  periodSeconds: 2
  timeoutSeconds: 2
{{- end -}}
