// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

// reply is an answer as the client got it.
type reply struct {
	seen
	status int
}

func loopback(port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
}

// exchange sends one request on a connection of its own and reads the answer. lines are fields, "body: text", and
// "via: outbound".
func exchange(t *testing.T, ports [2]int, method, target string, lines []string) reply {
	t.Helper()
	port, body := ports[0], ""
	host := "host: test.example"
	var fields []string
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		switch name {
		case "body":
			body = value
		case "via":
			port = ports[1]
		case "host":
			host = l
		default:
			fields = append(fields, l)
		}
	}
	c, err := net.DialTimeout("tcp", loopback(port).String(), deadline)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	head := append([]string{method + " " + target + " HTTP/1.1", host}, fields...)
	if body != "" {
		head = append(head, fmt.Sprintf("content-length: %d", len(body)))
	}
	if _, err := c.Write([]byte(strings.Join(head, "\r\n") + "\r\n\r\n" + body)); err != nil {
		t.Fatal(err)
	}
	s, err := readAnswer(bufio.NewReader(c), method)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	status, err := strconv.Atoi(s.target)
	if err != nil {
		t.Fatalf("status %q", s.target)
	}
	return reply{s, status}
}

// readAnswer reads an answer that has a content-length or none; the status is the target.
func readAnswer(in *bufio.Reader, method string) (seen, error) {
	if method != "HEAD" {
		return readRequest(in)
	}
	s, err := readRequest(bufio.NewReader(strings.NewReader(headOnly(in))))
	return s, err
}

// headOnly is a head without the length of a body that does not come.
func headOnly(in *bufio.Reader) string {
	var b strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil || line == "\r\n" {
			return b.String() + "\r\n"
		}
		if !strings.HasPrefix(strings.ToLower(line), "content-length:") {
			b.WriteString(line)
		}
	}
}

// receive waits for the next request of an upstream.
func receive(u *upstream) (seen, bool) {
	if u == nil {
		return seen{}, false
	}
	select {
	case s := <-u.got:
		return s, true
	case <-time.After(deadline):
		return seen{}, false
	}
}
