// SPDX-License-Identifier: Apache-2.0

// Compare plays the cases of package strict through nginx and HAProxy, or through any proxy that is running, and prints
// which of them come out otherwise than the table says.
//
//	go run ./test/strict/compare [nginx] [haproxy]
//
// Both are expected as Debian installs them; what is not there is said and left out.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/umbra-mesh/umbra/test/strict"
)

// Configurations with two holes: where to listen, where to send.
var configs = map[string]struct {
	text string
	args func(file string) []string
}{
	"nginx": {`daemon off; worker_processes 1; pid %[3]s/nginx.pid; error_log %[3]s/error.log;
events {}
http {
  access_log off; client_body_temp_path %[3]s/b; proxy_temp_path %[3]s/p; client_max_body_size 0;
  fastcgi_temp_path %[3]s/f; uwsgi_temp_path %[3]s/u; scgi_temp_path %[3]s/s;
  upstream a { server %[2]s; keepalive 8; }
  server { listen %[1]s; location / {
    proxy_pass http://a; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host; } }
}
`, func(file string) []string { return []string{"-c", file} }},
	"haproxy": {`defaults
  mode http
  timeout connect 2s
  timeout client 5s
  timeout server 5s
frontend f
  bind %[1]s
  default_backend b
backend b
  retries 0
  server a %[2]s
`, func(file string) []string { return []string{"-db", "-f", file} }},
}

func main() {
	names := os.Args[1:]
	if len(names) == 0 {
		names = []string{"nginx", "haproxy"}
	}
	failed := false
	for _, name := range names {
		if err := compare(name); err != nil {
			fmt.Fprintf(os.Stderr, "compare: %s: %v\n", name, err)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

func compare(name string) (err error) {
	config, ok := configs[name]
	if !ok {
		return errors.New("not known: nginx and haproxy are")
	}
	program, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("%w; apt-get install %s", err, name)
	}
	o, err := strict.Listen()
	if err != nil {
		return err
	}
	defer o.Close()
	dir, err := os.MkdirTemp("", "umbra-strict-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { // nginx's workers are another user
		return err
	}
	addr, err := free()
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, config.text+"%.0[3]s", addr, o.Addr, dir), 0o644); err != nil {
		return err
	}
	cmd := exec.Command(program, config.args(file)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed: that is no news
	}()
	if err := await(addr); err != nil {
		return err
	}
	return play(name, addr, o)
}

func play(name, addr string, o *strict.Origin) error {
	cases, other := strict.Cases(), 0
	for i := range cases {
		r, err := strict.Probe(addr, o, &cases[i])
		if err != nil {
			return err
		}
		if len(r.Faults) > 0 {
			other++
			fmt.Fprintf(os.Stdout, "%s: %s (%s): %.200s\n", name, cases[i].Name, cases[i].RFC, r.Faults)
		}
	}
	fmt.Fprintf(os.Stdout, "%s: %d cases, %d otherwise than the table says\n\n", name, len(cases), other)
	return nil
}

func free() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func await(addr string) error {
	end := time.Now().Add(5 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return err
		}
		<-tick.C
	}
}
