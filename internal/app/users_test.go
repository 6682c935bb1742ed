// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"
)

// user sends requests until stopped, and holds each outcome against the layouts that it may be of.
func (c *churn) user(stop <-chan struct{}, r *rand.Rand) {
	clients := [maxPorts]*http.Client{}
	since := [maxPorts]int64{} // each one's connections are not older
	for i := range clients {
		clients[i] = &http.Client{Transport: &http.Transport{}, Timeout: patience}
		defer clients[i].CloseIdleConnections()
	}
	for {
		select {
		case <-stop:
			return
		default:
		}
		q := question{port: r.IntN(maxPorts), host: r.IntN(maxHosts), ill: r.IntN(6) == 0}
		if r.IntN(3) == 0 { // a new connection
			clients[q.port].CloseIdleConnections()
			since[q.port] = c.done.Load()
		}
		q.from, q.since = c.done.Load(), since[q.port]
		a, err := c.ask(clients[q.port], q, r)
		if bad := c.judge(q, a, err); bad != nil {
			c.t.Error(bad)
			return
		}
		if err != nil {
			clients[q.port].CloseIdleConnections()
			since[q.port] = q.from
		}
	}
}

// ask sends one request, with a body as often as without, and returns who answered.
func (c *churn) ask(client *http.Client, q question, r *rand.Rand) (answer, error) {
	text := strings.Repeat("x", r.IntN(2)*r.IntN(100_000))
	method, body := "GET", io.Reader(nil)
	if text != "" {
		// Its length is not told: it goes in chunks, and no client sends it again by itself.
		method, body = "POST", struct{ io.Reader }{strings.NewReader(text)}
	}
	path := fmt.Sprintf("%x", r.Uint32())
	if q.ill {
		path = "ill"
	}
	req, err := http.NewRequest(method, fmt.Sprintf("http://%s/%s", address(c.ports[q.port]), path), body)
	if err != nil {
		return answer{}, err
	}
	req.Host = fmt.Sprintf("h%d.example", q.host)
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	return read(resp, text)
}

// read takes an answer, whose text is what was sent if it is a service's.
func read(resp *http.Response, sent string) (answer, error) {
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: resp.StatusCode, service: -1, member: -1, last: resp.Close}
	if by := resp.Header.Get("X-Service"); by == "" {
		a.text = string(got)
	} else if _, err := fmt.Sscan(by+" "+resp.Header.Get("X-Member"), &a.service, &a.member); err != nil {
		return a, err
	} else if string(got) != sent {
		return a, errors.New("the answer is not what was sent")
	}
	return a, nil
}

// slowUser sends heads in two parts, with changes between them.
func (c *churn) slowUser(stop <-chan struct{}, r *rand.Rand) {
	for {
		q := question{port: r.IntN(maxPorts), host: r.IntN(maxHosts)}
		q.from = c.done.Load()
		q.since = q.from
		until := q.from + int64(r.IntN(4))
		a, err := c.askSlowly(q, func() {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for c.done.Load() < until {
				select {
				case <-tick.C:
				case <-stop:
					return
				}
			}
		})
		if bad := c.judge(q, a, err); bad != nil {
			c.t.Error("slowly: ", bad)
			return
		}
		select {
		case <-stop:
			return
		default:
		}
	}
}

func (c *churn) askSlowly(q question, wait func()) (answer, error) {
	conn, err := net.DialTimeout("tcp", address(c.ports[q.port]), patience)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return answer{}, err
	}
	if _, err := io.WriteString(conn, "GET /slow HTTP/1.1\r\nHo"); err != nil {
		return answer{}, err
	}
	wait()
	if _, err := fmt.Fprintf(conn, "st: h%d.example\r\n\r\n", q.host); err != nil {
		return answer{}, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return answer{}, err
	}
	return read(resp, "")
}

// tunneller opens tunnels, and holds that they end with their listeners alone.
func (c *churn) tunneller(stop <-chan struct{}, r *rand.Rand) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		q := question{port: r.IntN(maxPorts), host: r.IntN(maxHosts)}
		q.from = c.done.Load()
		q.since = q.from
		a, err := c.tunnel(q, r)
		if a.status == http.StatusSwitchingProtocols {
			c.tunnelled.Add(1)
		}
		if bad := c.judge(q, a, err); bad != nil {
			c.t.Error("tunnel: ", bad)
			return
		}
	}
}

func (c *churn) tunnel(q question, r *rand.Rand) (answer, error) {
	req, err := http.NewRequest("GET", fmt.Sprintf("http://%s/tunnel", address(c.ports[q.port])), nil)
	if err != nil {
		return answer{}, err
	}
	req.Host = fmt.Sprintf("h%d.example", q.host)
	req.Header.Set("Connection", "upgrade")
	req.Header.Set("Upgrade", "websocket")
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return read(resp, "")
	}
	a := answer{status: resp.StatusCode}
	if _, err := fmt.Sscan(resp.Header.Get("X-Service")+" "+resp.Header.Get("X-Member"), &a.service, &a.member); err != nil {
		return a, err
	}
	return a, echo(resp.Body.(io.ReadWriter), r)
}

// echo holds that what goes into a tunnel comes back.
func echo(pipe io.ReadWriter, r *rand.Rand) error {
	for i := range r.IntN(200) {
		text := fmt.Sprintf("%08d", i)
		if _, err := io.WriteString(pipe, text); err != nil {
			return err
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(pipe, got); err != nil {
			return err
		}
		if string(got) != text {
			return fmt.Errorf("%q came back for %q", got, text)
		}
	}
	return nil
}
