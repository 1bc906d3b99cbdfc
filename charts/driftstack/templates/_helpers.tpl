{{/* Labels of every object. Call with (dict "root" $ "component" "operator"). */}}
{{- define "driftstack.labels" -}}
{{ include "driftstack.selector" . }}
app.kubernetes.io/part-of: driftstack
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* Labels that select a component's pods. */}}
{{- define "driftstack.selector" -}}
app.kubernetes.io/name: driftstack
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* The user name of a component's ServiceAccount, as admission policies see it. */}}
{{- define "driftstack.user" -}}
system:serviceaccount:{{ .root.Release.Namespace }}:driftstack-{{ .component }}
{{- end }}

{{/* What Pod Security `restricted` asks of a pod. */}}
{{- define "driftstack.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* What it asks of a container, and a root file system that can't be written. */}}
{{- define "driftstack.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The agents' keys, mounted. */}}
{{- define "driftstack.agentKeyMount" -}}
- {name: agent-keys, mountPath: /etc/driftstack/agent-keys, readOnly: true}
{{- end }}
{{- define "driftstack.agentKeyVolume" -}}
- name: agent-keys
  secret: {secretName: driftstack-agent-key, defaultMode: 0440}
{{- end }}

{{/* Ranges that no browser may reach, IPv4. Documentation ranges stay open: they lead nowhere outside tests. */}}
{{- define "driftstack.refusedIPv4" -}}
- 0.0.0.0/8
- 10.0.0.0/8
- 100.64.0.0/10
- 127.0.0.0/8
- 169.254.0.0/16
- 172.16.0.0/12
- 192.0.0.0/24
- 192.168.0.0/16
- 198.18.0.0/15
- 224.0.0.0/4
- 240.0.0.0/4
{{- range .Values.network.clusterCIDRs }}{{ if not (contains ":" .) }}
- {{ . }}
{{- end }}{{ end }}
{{- end }}

{{/*
The same for IPv6: compatible and loopback, local NAT64, 6to4, Teredo, discard, unique local, link-local, site-local and
multicast. IPv4-mapped addresses (::ffff:0:0/96) need no line, and the API refuses one: the kernel sends them as IPv4.
NAT64 (64:ff9b::/96) is how IPv4 is reached from networks without, so there the IPv4 ranges are refused, each inside it.
*/}}
{{- define "driftstack.refusedIPv6" -}}
- ::/96
{{- range include "driftstack.refusedIPv4" . | fromYamlArray }}
{{- $parts := regexSplit "[./]" . -1 }}
{{- $high := add (mul 256 (index $parts 0 | atoi)) (index $parts 1 | atoi) }}
{{- $low := add (mul 256 (index $parts 2 | atoi)) (index $parts 3 | atoi) }}
- 64:ff9b::{{ if or $high $low }}{{ printf "%x:%x" $high $low }}{{ end }}/{{ add 96 (index $parts 4 | atoi) }}
{{- end }}
- 64:ff9b:1::/48
- 100::/64
- 2001::/32
- 2002::/16
- fc00::/7
- fe80::/10
- fec0::/10
- ff00::/8
{{- range .Values.network.clusterCIDRs }}{{ if contains ":" . }}
- {{ . }}
{{- end }}{{ end }}
{{- end }}

{{/* The binding of a validating policy. Call with (dict "root" $ "name" "…"), and "action" if it is not Deny. */}}
{{- define "driftstack.policyBinding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "driftstack.labels" (dict "root" .root "component" "admission") | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: [{{ .action | default "Deny" }}]
{{- end }}

{{/*
The tiers as operator and facade read them: JSON, null for "no limit" (Helm itself drops nulls from values). Numbers are
made integers: Helm reads large ones as floats.
*/}}
{{- define "driftstack.tiers" -}}
{{- $tiers := dict -}}
{{- range $name, $tier := .Values.tiers -}}
{{- $limits := dict "concurrentSessions" (int $tier.concurrentSessions) -}}
{{- range $key := list "idleTimeoutSeconds" "maxDurationSeconds" "profiles" -}}
{{- $most := int (get $tier $key) -}}
{{- $_ := set $limits $key (ternary $most nil (gt $most 0)) -}}
{{- end -}}
{{- $buckets := dict -}}
{{- range $key, $bucket := $tier.rateLimits -}}
{{- $numbers := dict "capacity" (int $bucket.capacity) "refillPerMinute" (int $bucket.refillPerMinute) -}}
{{- $_ := set $buckets $key $numbers -}}
{{- end -}}
{{- $_ := set $limits "rateLimits" $buckets -}}
{{- $_ := set $tiers $name $limits -}}
{{- end -}}
{{- toJson $tiers -}}
{{- end }}
