// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

func TestLocalAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		local      Local
		server     string
		head, last bool
		want       string
	}{
		"with a body": {NoHost, "istio-envoy", false, false,
			"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 19\r\ncontent-type: text/plain\r\ndate: now\r\nserver: istio-envoy\r\n\r\nno healthy upstream"},
		"to HEAD": {NoHost, "", true, true,
			"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 19\r\ncontent-type: text/plain\r\ndate: now\r\nconnection: close\r\n\r\n"},
		"without a body": {NoRoute, "s", false, true,
			"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\ndate: now\r\nserver: s\r\nconnection: close\r\n\r\n"},
		"204 has no length": {Local{Status: 204, Body: "x"}, "", false, false, "HTTP/1.1 204 No Content\r\ndate: now\r\n\r\n"},
		"304 has no body":   {Local{Status: 304, Body: "x"}, "", false, false, "HTTP/1.1 304 Not Modified\r\ndate: now\r\n\r\n"},
		"a status unknown":  {Local{Status: 599}, "", false, false, "HTTP/1.1 599 \r\ncontent-length: 0\r\ndate: now\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.local.Append([]byte("before|"), &Reply{
				Server: []byte(c.server), Date: []byte("now"), Head: c.head, Last: c.last,
			})
			if string(got) != "before|"+c.want {
				t.Errorf("got  %q\nwant %q", got, "before|"+c.want)
			}
		})
	}
}

func TestLocalAnswersToGRPCClientsAreTheirTrailers(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\ncontent-length: 0"
	for name, c := range map[string]struct {
		local Local
		reply Reply
		want  string
	}{
		"status and message": {NoHost, Reply{},
			"\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\ngrpc-message: no healthy upstream\r\ndate: now\r\n\r\n"},
		"no message": {NoRoute, Reply{Last: true},
			"\r\ncontent-type: application/grpc\r\ngrpc-status: 12\r\ndate: now\r\nconnection: close\r\n\r\n"},
		"HEAD has no message": {NoHost, Reply{Head: true},
			"\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\ndate: now\r\n\r\n"},
		"a message that has to be encoded": {Local{Status: 200, Body: "50% ~\n\xff", HasGRPC: true, GRPC: 5}, Reply{},
			"\r\ncontent-type: application/grpc\r\ngrpc-status: 5\r\ngrpc-message: 50%25 %7E%0A%FF\r\ndate: now\r\n\r\n"},
		"a status that header operations wrote": {NoRoute, Reply{Fields: fieldsOf("grpc-status: 3", "content-type: x")},
			"\r\ngrpc-status: 3\r\ncontent-type: application/grpc\r\ndate: now\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c.reply.GRPC, c.reply.Date = true, []byte("now")
			if got := c.local.Append(nil, &c.reply); string(got) != ok+c.want {
				t.Errorf("got  %q\nwant %q", got, ok+c.want)
			}
		})
	}
	for status, want := range map[int]int{400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14, 500: 2, 200: 2, 301: 2} {
		if got := grpcStatus(status); got != want {
			t.Errorf("%d: %d, want %d", status, got, want)
		}
	}
}

func TestFieldsOfLocalAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		local  Local
		fields []codec.Field
		want   string
	}{
		"are written, what encoders write is not": {Local{Status: 200},
			fieldsOf("X-A: 1", "Connection: x", "content-length: 9", "transfer-encoding: chunked", "x-b: 2"),
			"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nX-A: 1\r\nx-b: 2\r\ndate: now\r\nserver: s\r\n\r\n"},
		"a type of their own stays": {Local{Status: 200, Body: "{}"}, fieldsOf("content-type: application/json"),
			"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\ndate: now\r\nserver: s\r\n\r\n{}"},
		"nothing has no type": {Local{Status: 200}, fieldsOf("content-type: application/json"),
			"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ndate: now\r\nserver: s\r\n\r\n"},
		"server and date are there once": {Local{Status: 200}, fieldsOf("server: mine", "date: then"),
			"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ndate: then\r\nserver: s\r\n\r\n"},
		"removed ones are not": {Local{Status: 200}, []codec.Field{{Value: []byte("x")}},
			"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ndate: now\r\nserver: s\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.local.Append(nil, &Reply{Server: []byte("s"), Date: []byte("now"), Fields: c.fields})
			if string(got) != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestIsGRPC(t *testing.T) {
	for value, want := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "application/grpc-web": false, "application/grpc;a=b": false,
		"application/grp": false, "": false, "text/plain": false,
	} {
		if got := IsGRPC(&codec.Head{Fields: fieldsOf("content-type: " + value)}); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
	if IsGRPC(&codec.Head{}) {
		t.Error("no content-type is gRPC")
	}
}
