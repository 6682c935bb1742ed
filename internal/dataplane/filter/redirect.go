// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// Redirect answers with another address (envoy.config.route.v3.RedirectAction). Immutable. The zero value with a Code
// leads to where the request went; so does Envoy for direct responses with a 3xx status or 201.
type Redirect struct {
	Code       int
	Scheme     string   // "": the request's; "https" for https_redirect
	Host       string   // "": the request's
	Port       uint32   // 0: none given
	Path       string   // path_redirect; "": keep
	Rewrite    *Rewrite // prefix_rewrite or regex_rewrite; nil: none
	StripQuery bool

	verbatim bool // ToHTTPS: the request's authority and target as they are
}

// ToHTTPS is what a virtual host with require_tls answers to requests that came in the clear.
var ToHTTPS = &Redirect{Code: 301, Scheme: "https", verbatim: true}

var redirects = map[int]*Local{}

func init() {
	for _, code := range []int{301, 302, 303, 307, 308} {
		redirects[code] = &Local{Status: code, Details: "direct_response"}
	}
}

// Local is the answer of the redirect, without its location. Codes that are no redirect's count as 301.
func (r *Redirect) Local() *Local {
	if l := redirects[r.Code]; l != nil {
		return l
	}
	return redirects[301]
}

// Answer adds the location that request is led to to answer's fields; its memory is answer's. It rewrites request's
// path on the way, as Envoy does.
func (r *Redirect) Answer(answer, request *codec.Head) {
	at := len(answer.Buf)
	answer.Buf = r.Location(answer.Buf, request)
	answer.Fields = append(answer.Fields, codec.Field{
		Name: location.bytes, Value: answer.Buf[at:len(answer.Buf):len(answer.Buf)],
	})
}

var location = newName("location")

// Location appends the address that the request is led to (envoy.config.route.v3.RedirectAction). A port of the
// request's authority goes if another is given, and if it is its scheme's own while the scheme changes. Spaces and
// control bytes come out percent-encoded.
func (r *Redirect) Location(dst []byte, h *codec.Head) []byte {
	if r.Rewrite != nil {
		r.Rewrite.path(h, true)
	}
	if r.Scheme != "" {
		dst = appendTarget(dst, r.Scheme)
	} else {
		dst = append(dst, Scheme(h)...)
	}
	dst = append(dst, "://"...)
	switch {
	case r.verbatim:
		return appendTarget(appendTarget(dst, h.Authority), h.Target)
	case r.Host != "":
		dst = appendTarget(dst, r.Host)
	default:
		dst = appendTarget(dst, r.requestHost(h))
	}
	if r.Port != 0 {
		dst = strconv.AppendUint(append(dst, ':'), uint64(r.Port), 10)
	}
	return r.appendPath(dst, h)
}

func (r *Redirect) appendPath(dst []byte, h *codec.Head) []byte {
	path, query := h.Target, []byte(nil)
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path, query = path[:i], path[i:]
	}
	at := len(dst)
	dst = append(dst, '/')
	if r.Path != "" {
		dst = appendTarget(dst, r.Path)
	} else {
		dst = appendTarget(dst, path)
	}
	if len(dst) > at+1 && dst[at+1] == '/' {
		dst = append(dst[:at], dst[at+1:]...)
	}
	if strings.Contains(r.Path, "?") || r.StripQuery {
		return dst
	}
	return appendTarget(dst, query)
}

// requestHost is the request's authority, without a port that does not hold any more.
func (r *Redirect) requestHost(h *codec.Head) []byte {
	host := h.Authority
	colon := bytes.LastIndexByte(host, ':')
	if len(host) > 0 && host[0] == '[' {
		if colon = bytes.LastIndex(host, []byte("]:")); colon >= 0 {
			colon++
		}
	}
	if colon < 0 {
		return host
	}
	drop := r.Port != 0
	if proto := h.Get(codec.ForwardedProto); r.Scheme != "" && string(proto) != r.Scheme {
		port := host[colon:]
		drop = drop || codec.EqualFold(proto, "https") && string(port) == ":443" ||
			codec.EqualFold(proto, "http") && string(port) == ":80"
	}
	if drop {
		return host[:colon]
	}
	return host
}
