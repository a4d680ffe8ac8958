{{- define "fundus-relay.image" -}}
{{- $repository := required "image.repository is required" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ required "image.digest, or image.tag, is required" .Values.image.tag }}
{{- end -}}
{{- end }}

{{- define "fundus-relay.data" -}}
{{- $own := dict -}}
{{- range $line := .Files.Lines "settings.env" -}}
{{- if $line -}}
{{- $pair := splitn "=" 2 $line -}}
{{- $_ := set $own $pair._0 $pair._1 -}}
{{- end -}}
{{- end -}}
{{- if .Values.volume.enabled -}}
{{- $_ := set $own "FUNDUS_RELAY_BLOBS__URL" "/var/lib/fundus-relay/blobs" -}}
{{- end -}}
{{- range $name, $value := merge (deepCopy .Values.settings) $own }}
{{ $name }}: {{ $value | toString | quote }}
{{- end -}}
{{- end }}

{{/* Named for what it holds, so that a changed setting is a changed pod. */}}
{{- define "fundus-relay.settings" -}}
fundus-relay-settings-{{ include "fundus-relay.data" . | sha256sum | trunc 10 }}
{{- end }}

{{- define "fundus-relay.party" -}}
{{- $party := index . 1 -}}
{{- with index (index . 0).Values.parties $party -}}
{{- toYaml . -}}
{{- else -}}
- podSelector:
    matchLabels:
      fundus-relay.dev/party: {{ $party }}
{{- end -}}
{{- end }}
