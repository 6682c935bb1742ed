// SPDX-License-Identifier: Apache-2.0

// Package proxies finds the proxies that a bench compares, sets each up to pass requests on to an upstream and, if asked
// to, copies of them to another, and starts it.
package proxies

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/umbra-mesh/umbra/bench/internal/process"
)

// Setup is what a proxy is told. All addresses are of 127.0.0.1.
type Setup struct {
	Dir      string         // for its files, which carry its port in their names
	Listen   netip.AddrPort // where it serves
	Admin    netip.AddrPort // where an Umbra has its admin pages; nginx has none
	Upstream netip.AddrPort // of production
	Copies   netip.AddrPort // what gets a copy of each request; not valid: no mirror
}

// nginx is set up as well as we know how: no access log, kept-alive connections on both sides that are never closed for
// their age, and whole bodies in memory (to stream them, proxy_request_buffering off, costs more and scatters more).
const nginxConf = `%sworker_processes 2;
daemon off;
pid %[2]s/nginx.pid;
error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  client_body_buffer_size 2m;
  client_body_temp_path %[2]s/body;
  proxy_temp_path %[2]s/proxy;
  fastcgi_temp_path %[2]s/fastcgi;
  uwsgi_temp_path %[2]s/uwsgi;
  scgi_temp_path %[2]s/scgi;
  upstream a { server %[4]s; keepalive 512; keepalive_requests 1000000000; }
%[5]s  server {
    listen %[3]s;
    location / {
      proxy_pass http://a;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
%[6]s    }
%[7]s  }
}
`

const nginxMirror = `    location = /mirror-of-a {
      internal;
      proxy_pass http://b$request_uri;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host-shadow;
    }
`

// renderNginx returns the configuration; b is not valid for a plain proxy.
func renderNginx(dir, user string, listen, a, b netip.AddrPort) string {
	if user != "" {
		user = "user " + user + ";\n"
	}
	upstream, option, location := "", "", ""
	if b.IsValid() {
		upstream = fmt.Sprintf("  upstream b { server %s; keepalive 512; keepalive_requests 1000000000; }\n", b)
		option, location = "      mirror /mirror-of-a;\n", nginxMirror
	}
	return fmt.Sprintf(nginxConf, user, dir, listen, a, upstream, option, location)
}

// FindNginx looks the program up and returns its version.
func FindNginx(name string) (path, version string, err error) {
	path, err = exec.LookPath(name)
	if err != nil {
		return "", "", fmt.Errorf("%s is not here: install the Debian package nginx (apt-get install nginx), "+
			"or leave it out with -proxies: %w", name, err)
	}
	out, err := exec.Command(path, "-v").CombinedOutput()
	if err != nil {
		return "", "", fmt.Errorf("%s -v: %w: %s", path, err, out)
	}
	_, version, _ = strings.Cut(strings.TrimSpace(string(out)), "nginx/")
	return path, "nginx " + version, nil
}

// StartNginx starts an nginx with two workers. The program is what FindNginx returned.
func StartNginx(program string, s Setup) (*process.Child, error) {
	dir := filepath.Join(s.Dir, fmt.Sprintf("nginx-%d", s.Listen.Port()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	user := ""
	if os.Geteuid() == 0 { // the workers write their files where only this user may
		user = "root"
	}
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, []byte(renderNginx(dir, user, s.Listen, s.Upstream, s.Copies)), 0o644); err != nil {
		return nil, err
	}
	return process.Start("nginx", nil, program, "-p", dir, "-c", conf, "-e", "stderr")
}
