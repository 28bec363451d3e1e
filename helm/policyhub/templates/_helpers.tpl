{{/* Names, labels, and the refusals that a schema would say badly. */}}

{{- define "policyhub.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "policyhub.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "policyhub.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "policyhub.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "policyhub.selectorLabels" -}}
app.kubernetes.io/name: {{ include "policyhub.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "policyhub.labels" -}}
{{ include "policyhub.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "policyhub.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "policyhub.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "policyhub.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "policyhub.claimName" -}}
{{- default (printf "%s-data" (include "policyhub.fullname" .)) .Values.persistence.existingClaim -}}
{{- end -}}

{{- define "policyhub.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "policyhub.refuse" -}}
{{- $postgresql := eq .Values.database.type "postgresql" -}}
{{- if and (not $postgresql) (gt (int .Values.replicas) 1) -}}
{{- fail "replicas is more than 1 with database.type sqlite: one file has one writer; use database.type postgresql" -}}
{{- end -}}
{{- if and (not .Values.tls.existingSecret) (not .Values.insecurePlaintext) -}}
{{- fail "gRPC would travel in the clear: set tls.existingSecret, or insecurePlaintext=true when a mesh ends TLS" -}}
{{- end -}}
{{- if and .Values.tls.existingSecret .Values.insecurePlaintext -}}
{{- fail "tls.existingSecret and insecurePlaintext=true contradict each other: set one of them" -}}
{{- end -}}
{{- if and $postgresql (not .Values.database.existingSecret) -}}
{{- fail "database.type postgresql needs database.existingSecret: the Secret that holds its URL" -}}
{{- end -}}
{{- if and $postgresql (not .Values.keys.existingSecret) -}}
{{- fail "database.type postgresql needs keys.existingSecret: without it each replica would sign with keys of its own" -}}
{{- end -}}
{{- end -}}
