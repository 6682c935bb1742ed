// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"fmt"
	"slices"
	"strings"
)

// Case is one kind of traffic.
type Case struct {
	Name        string
	Title       string
	Connections int
	Body        int // bytes; 0 is a GET
	Mirror      bool
}

// Cases are all there are, in the order they are printed.
var Cases = []Case{
	{Name: "get", Title: "GET", Connections: 64},
	{Name: "get-mirror", Title: "GET, 100 % mirrored", Connections: 64, Mirror: true},
	{Name: "post4k-mirror", Title: "POST 4 KiB, 100 % mirrored", Connections: 64, Body: 4 << 10, Mirror: true},
	{Name: "post1m", Title: "POST 1 MiB", Connections: 8, Body: 1 << 20},
	{Name: "post1m-mirror", Title: "POST 1 MiB, 100 % mirrored", Connections: 8, Body: 1 << 20, Mirror: true},
}

// The proxies that can be measured. The relay is the least a process between two sockets can cost; it cannot mirror.
const (
	Nginx = "nginx"
	Umbra = "umbra"
	// Umbra with much configuration: the request is for the last of 1,000 prefix routes of its host, or for the last of 10
	// routes of one of 10,000 hosts.
	UmbraRoutes = "umbra-routes"
	UmbraHosts  = "umbra-hosts"
	// Before is an older Umbra.
	Before = "before"
	Relay  = "relay"
)

// Proxies are those measured unless others are asked for.
var Proxies = []string{Nginx, Umbra, Relay}

// allProxies are all there are, in the order they are printed.
var allProxies = []string{Nginx, Before, Umbra, UmbraRoutes, UmbraHosts, Relay}

// PickCases reads a comma-separated list of names.
func PickCases(list string) ([]Case, error) {
	var picked []Case
	for name := range strings.SplitSeq(list, ",") {
		c, err := caseNamed(name)
		if err != nil {
			return nil, err
		}
		picked = append(picked, c)
	}
	return picked, nil
}

func caseNamed(name string) (Case, error) {
	known := make([]string, len(Cases))
	for i, c := range Cases {
		if c.Name == name {
			return c, nil
		}
		known[i] = c.Name
	}
	return Case{}, fmt.Errorf("unknown case %q, want some of %s", name, strings.Join(known, ","))
}

// PickProxies reads a comma-separated list of names.
func PickProxies(list string) ([]string, error) {
	picked := strings.Split(list, ",")
	for _, name := range picked {
		if !slices.Contains(allProxies, name) {
			return nil, fmt.Errorf("unknown proxy %q, want some of %s", name, strings.Join(allProxies, ","))
		}
	}
	return picked, nil
}
