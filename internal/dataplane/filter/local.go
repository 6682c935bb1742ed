// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"net/http"
	"strconv"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// Local is an answer the proxy makes itself, with Envoy's response flag and details for the access log.
type Local struct {
	Status  int
	Body    string
	Flag    string // access log %RESPONSE_FLAGS%
	Details string // access log %RESPONSE_CODE_DETAILS%
	// HasGRPC: to gRPC clients the answer's grpc-status is GRPC. Otherwise it follows from Status.
	HasGRPC bool
	GRPC    int
}

// Reply is how a local answer goes to one client.
type Reply struct {
	Server, Date []byte // Server may be empty
	Head         bool   // the request is HEAD
	Last         bool   // the connection ends with the answer
	// GRPC: the request's content-type is gRPC (IsGRPC): the answer is its trailers alone, as Envoy gives it.
	GRPC bool
	// Fields are more of them: a location, what header operations and CORS made of an empty head. Those that encoders
	// write (RFC 9110 §7.6.1, content-length) are left out, and server and date are written once.
	Fields []codec.Field
}

// The local answers (Envoy's texts, so that people recognise them).
var (
	NoRoute = local(404, "", "NR", "route_not_found")
	// NoCluster: the route names a cluster that is not there.
	NoCluster = local(503, "", "NC", "cluster_not_found")
	// NoHost: the cluster has no host.
	NoHost   = local(503, "no healthy upstream", "UH", "no_healthy_upstream")
	Overflow = local(
		503, "upstream connect error or disconnect/reset before headers. reset reason: overflow", "UO",
		"upstream_reset_before_response_started{overflow}",
	)
	ConnectFailed = local(
		503, "upstream connect error or disconnect/reset before headers. reset reason: connection failure", "UF",
		"upstream_reset_before_response_started{connection_failure}",
	)
	ConnectTimedOut = local(
		503, "upstream connect error or disconnect/reset before headers. reset reason: connection timeout", "UF",
		"upstream_reset_before_response_started{connection_timeout}",
	)
	Terminated = local(
		503, "upstream connect error or disconnect/reset before headers. reset reason: connection termination", "UC",
		"upstream_reset_before_response_started{connection_termination}",
	)
	BadAnswer = local(
		502, "upstream connect error or disconnect/reset before headers. reset reason: protocol error", "UPE",
		"upstream_reset_before_response_started{protocol_error}",
	)
	TimedOut       = local(504, "upstream request timeout", "UT", "response_timeout")
	PerTryTimedOut = local(504, "upstream request timeout", "UT", "upstream_per_try_timeout")
	// StreamIdle is for requests that are not complete; IdleUpstream for those that are, which a client that is told
	// 408 would send again.
	StreamIdle   = local(408, "stream timeout", "SI", "stream_idle_timeout")
	IdleUpstream = local(504, "stream timeout", "SI", "stream_idle_timeout")
	HeadTimeout  = local(408, "request header timeout", "DT", "request_header_timeout")
	LowVersion   = local(426, "", "", "low_version") // HTTP/1.0 without accept_http_10
	// BadPath is for paths that cannot be normalised, or may not have escaped slashes; PathIsElsewhere for those that are
	// asked for again without.
	BadPath         = local(400, "", "", "path_normalization_failed")
	PathIsElsewhere = local(307, "", "", "path_normalization_failed")
	UpgradeWithBody = local(400, "an upgrade must not have a body", "DPE", "upgrade_with_body")
	Overloaded      = local(503, "envoy overloaded", "OM", "overload")
	NoConnect       = local(405, "CONNECT is not supported", "DPE", "connect_not_supported")
)

func local(status int, body, flag, details string) Local {
	return Local{Status: status, Body: body, Flag: flag, Details: details}
}

// IsGRPC reports whether a head's content-type is gRPC's: application/grpc, alone or with +suffix.
func IsGRPC(h *codec.Head) bool {
	v := h.Get(codec.ContentType)
	const want = "application/grpc"
	return len(v) >= len(want) && string(v[:len(want)]) == want && (len(v) == len(want) || v[len(want)] == '+')
}

// Append renders the answer. Its body is left out for HEAD requests but its length is told (RFC 9110 §9.3.2).
func (l *Local) Append(dst []byte, r *Reply) []byte {
	status, body := l.Status, l.Body
	if r.GRPC {
		status, body = 200, ""
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(status)...)
	if !bodiless(status) {
		dst = append(dst, "\r\ncontent-length: "...)
		dst = strconv.AppendInt(dst, int64(len(body)), 10)
	}
	var typed, dated, graded bool
	for i := range r.Fields {
		f := &r.Fields[i]
		switch {
		case f.Name == nil || f.ID.HopByHop() || f.ID == codec.ContentLength:
			continue
		case f.ID == codec.ContentType:
			if body == "" || bodiless(status) {
				continue
			}
			typed = true
		case f.ID == codec.Date:
			dated = true
		case f.ID == codec.Server:
			if len(r.Server) > 0 {
				continue
			}
		case f.ID == codec.GRPCStatus:
			graded = true
		}
		dst = append(append(append(append(dst, "\r\n"...), f.Name...), ": "...), f.Value...)
	}
	if r.GRPC {
		dst = l.appendGRPC(dst, r, graded)
	} else if body != "" && !bodiless(status) && !typed {
		dst = append(dst, "\r\ncontent-type: text/plain"...)
	}
	if !dated {
		dst = append(append(dst, "\r\ndate: "...), r.Date...)
	}
	if len(r.Server) > 0 {
		dst = append(append(dst, "\r\nserver: "...), r.Server...)
	}
	if r.Last {
		dst = append(dst, "\r\nconnection: close"...)
	}
	dst = append(dst, "\r\n\r\n"...)
	if r.GRPC {
		return dst
	}
	return append(dst, l.Sent(r.Head)...)
}

// appendGRPC appends what makes an answer to gRPC clients: a status of theirs, and the body as its message.
// graded: a status is there already.
func (l *Local) appendGRPC(dst []byte, r *Reply, graded bool) []byte {
	dst = append(dst, "\r\ncontent-type: application/grpc"...)
	if !graded {
		code := l.GRPC
		if !l.HasGRPC {
			code = grpcStatus(l.Status)
		}
		dst = strconv.AppendInt(append(dst, "\r\ngrpc-status: "...), int64(code), 10)
	}
	if l.Body == "" || r.Head {
		return dst
	}
	dst = append(dst, "\r\ngrpc-message: "...)
	const hex = "0123456789ABCDEF"
	for i := range len(l.Body) {
		if c := l.Body[i]; c < ' ' || c >= '~' || c == '%' {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// grpcStatus is gRPC's mapping of HTTP's statuses.
func grpcStatus(status int) int {
	switch status {
	case 400:
		return 13 // INTERNAL
	case 401:
		return 16 // UNAUTHENTICATED
	case 403:
		return 7 // PERMISSION_DENIED
	case 404:
		return 12 // UNIMPLEMENTED
	case 429, 502, 503, 504:
		return 14 // UNAVAILABLE
	}
	return 2 // UNKNOWN
}

// bodiless statuses end with the head, and their length is not told (RFC 9110 §8.6, RFC 9112 §6.3).
func bodiless(status int) bool { return status == 204 || status == 304 }

// Sent is the body as it goes to a client that is none of gRPC's.
func (l *Local) Sent(headRequest bool) string {
	if headRequest || bodiless(l.Status) {
		return ""
	}
	return l.Body
}
