// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
)

// A mirror that ends its own direction in the middle of a copy, and reads on, sees that the copy is broken, not that it
// ended.
func TestMirrorThatHalfClosesInACopySeesAReset(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	ended := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			ended <- err
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		if _, err = c.Read(make([]byte, 1)); err == nil {
			c.(*net.TCPConn).CloseWrite()
			_, err = io.Copy(io.Discard, c)
		}
		ended <- err
	}()
	r := newRig(t, mirror.Limits{})
	r.cluster("a", origin(t, func(_ http.ResponseWriter, q *http.Request) { io.Copy(io.Discard, q.Body) }))
	r.cluster("b", l.Addr().String())
	r.serve(r.to("a", r.policy("b", 100)))
	client := r.dial()
	io.WriteString(client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf ")
	if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the copy ended with %v", err)
	}
	s := r.mirrors.Stats("test", "b")
	eventually(t, "the copy is dropped", func() bool { return s.Counts().Dropped["reset"] == 1 })
	client.Close()
}
