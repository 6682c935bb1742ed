// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"net/http"
	"strconv"
)

// Local is an answer the proxy makes itself, with Envoy's response flag and details for the access log.
type Local struct {
	Status  int
	Body    string
	Flag    string // access log %RESPONSE_FLAGS%
	Details string // access log %RESPONSE_CODE_DETAILS%
}

// The local answers (Envoy's texts, so that people recognise them).
var (
	NoRoute = Local{404, "", "NR", "route_not_found"}
	// NoCluster: the route names a cluster that is not there.
	NoCluster = Local{503, "", "NC", "cluster_not_found"}
	// NoHost: the cluster has no host.
	NoHost   = Local{503, "no healthy upstream", "UH", "no_healthy_upstream"}
	Overflow = Local{
		503, "upstream connect error or disconnect/reset before headers. reset reason: overflow", "UO",
		"upstream_reset_before_response_started{overflow}",
	}
	ConnectFailed = Local{
		503, "upstream connect error or disconnect/reset before headers. reset reason: connection failure", "UF",
		"upstream_reset_before_response_started{connection_failure}",
	}
	ConnectTimedOut = Local{
		503, "upstream connect error or disconnect/reset before headers. reset reason: connection timeout", "UF",
		"upstream_reset_before_response_started{connection_timeout}",
	}
	Terminated = Local{
		503, "upstream connect error or disconnect/reset before headers. reset reason: connection termination", "UC",
		"upstream_reset_before_response_started{connection_termination}",
	}
	BadAnswer = Local{
		502, "upstream connect error or disconnect/reset before headers. reset reason: protocol error", "UPE",
		"upstream_reset_before_response_started{protocol_error}",
	}
	TimedOut       = Local{504, "upstream request timeout", "UT", "response_timeout"}
	PerTryTimedOut = Local{504, "upstream request timeout", "UT", "upstream_per_try_timeout"}
	// StreamIdle is for requests that are not complete; IdleUpstream for those that are, which a client that is told 408
	// would send again.
	StreamIdle   = Local{408, "stream timeout", "SI", "stream_idle_timeout"}
	IdleUpstream = Local{504, "stream timeout", "SI", "stream_idle_timeout"}
	HeadTimeout  = Local{408, "request header timeout", "DT", "request_header_timeout"}
	LowVersion   = Local{426, "", "", "low_version"} // HTTP/1.0 without accept_http_10
	NoConnect    = Local{405, "CONNECT is not supported", "DPE", "connect_not_supported"}
)

// Append renders the answer. body is left out for HEAD requests but its length is told (RFC 9110 §9.3.2).
func (l *Local) Append(dst []byte, server, date []byte, headRequest, last bool) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(l.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(l.Status)...)
	if !l.bodiless() {
		dst = append(dst, "\r\ncontent-length: "...)
		dst = strconv.AppendInt(dst, int64(len(l.Body)), 10)
		if l.Body != "" {
			dst = append(dst, "\r\ncontent-type: text/plain"...)
		}
	}
	dst = append(dst, "\r\ndate: "...)
	dst = append(dst, date...)
	if len(server) > 0 {
		dst = append(dst, "\r\nserver: "...)
		dst = append(dst, server...)
	}
	if last {
		dst = append(dst, "\r\nconnection: close"...)
	}
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, l.Sent(headRequest)...)
}

// bodiless statuses end with the head, and their length is not told (RFC 9110 §8.6, RFC 9112 §6.3).
func (l *Local) bodiless() bool { return l.Status == 204 || l.Status == 304 }

// Sent is the body as it goes to the client.
func (l *Local) Sent(headRequest bool) string {
	if headRequest || l.bodiless() {
		return ""
	}
	return l.Body
}
