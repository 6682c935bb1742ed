// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/test/faulty"
)

// seen is one request as an upstream got it, fields in their order.
type seen struct {
	method, target string
	fields         [][2]string
	body           string
}

func (s *seen) get(name string) (string, bool) {
	var values []string
	for _, f := range s.fields {
		if strings.EqualFold(f[0], name) {
			values = append(values, f[1])
		}
	}
	return strings.Join(values, "|"), len(values) > 0
}

// upstream is a real server that keeps the bytes of what it is sent and answers as it is told.
type upstream struct {
	name string
	port int
	got  chan seen // what arrived and was not asked for yet

	mu      sync.Mutex
	answers []string // of the next requests; the last one stays
}

// deadline is how long anything may take that must happen.
const deadline = 10 * time.Second

func newUpstream(t *testing.T, name string, answers []string) *upstream {
	t.Helper()
	server, err := faulty.Listen(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	u := &upstream{name: name, got: make(chan seen, 4096), answers: answers}
	u.port = int(netip.MustParseAddrPort(server.Addr()).Port())
	server.Serve(u.serve)
	return u
}

func (u *upstream) serve(c *faulty.Conn) {
	in := bufio.NewReader(c)
	for {
		s, err := readRequest(in)
		if err != nil {
			return
		}
		u.got <- s
		switch reply := u.next(); reply {
		case "reset":
			c.Reset()
			return
		case "silent":
			c.Hang()
			return
		default:
			if c.Send(render(u.name, reply)) != nil {
				return
			}
		}
	}
}

// next is the answer to the request at hand: a status, perhaps with fields after it, "; " between them.
func (u *upstream) next() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.answers) == 0 {
		return "200"
	}
	a := u.answers[0]
	if len(u.answers) > 1 {
		u.answers = u.answers[1:]
	}
	return a
}

func render(name, reply string) string {
	parts := strings.Split(reply, "; ")
	status, _ := strconv.Atoi(parts[0])
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\ncontent-length: %d\r\nx-from: %s\r\n", status, http.StatusText(status), len(name), name)
	for _, f := range parts[1:] {
		b.WriteString(f + "\r\n")
	}
	return b.String() + "\r\n" + name
}

// readRequest reads a request that has a content-length or none.
func readRequest(in *bufio.Reader) (seen, error) {
	r := textproto.NewReader(in)
	line, err := r.ReadLine()
	if err != nil {
		return seen{}, err
	}
	var s seen
	s.method, line, _ = strings.Cut(line, " ")
	s.target, _, _ = strings.Cut(line, " ")
	length := 0
	for {
		line, err := r.ReadLine()
		if err != nil {
			return s, err
		}
		if line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if strings.EqualFold(name, "content-length") {
			length, _ = strconv.Atoi(value)
		}
		s.fields = append(s.fields, [2]string{name, value})
	}
	body := make([]byte, length)
	_, err = io.ReadFull(in, body)
	s.body = string(body)
	return s, err
}
