// SPDX-License-Identifier: Apache-2.0

package isolation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/umbra-mesh/umbra/bench/internal/faulty"
	"github.com/umbra-mesh/umbra/bench/internal/process"
	"github.com/umbra-mesh/umbra/bench/internal/traffic"
)

// The programs that a run starts besides the proxies. Each is a process of its own, so that what a mirror does with its
// time and memory is not what clients measure.
const (
	RoleOrigin  = "isolation-origin"  // arguments: its address. Every line is answered with traffic.Seen
	RoleMirror  = "isolation-mirror"  // its address and production's. A line is the fault that begins, or empty; faulty.Seen
	RoleClients = "isolation-clients" // none. A line is a traffic.Load; traffic.Result
)

// healthy ends a fault.
const healthy = "healthy"

// Play is what a child process does. It returns when its input ends.
func Play(role string, args []string, in io.Reader, out io.Writer) error {
	addrs := make([]netip.AddrPort, len(args))
	for i := range args {
		var err error
		if addrs[i], err = netip.ParseAddrPort(args[i]); err != nil {
			return err
		}
	}
	switch {
	case role == RoleOrigin && len(addrs) == 1:
		return playOrigin(addrs[0], in, out)
	case role == RoleMirror && len(addrs) == 2:
		return playMirror(addrs[0], addrs[1], in, out)
	case role == RoleClients && len(addrs) == 0:
		return process.Obey(in, out, func(line string) (any, error) {
			var l traffic.Load
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				return nil, err
			}
			if l.Rate < 1 || l.Connections < 1 {
				return nil, errors.New("a load has a rate and connections")
			}
			return l.Run(), nil
		})
	}
	return fmt.Errorf("%s does not take %d addresses", role, len(addrs))
}

func playOrigin(addr netip.AddrPort, in io.Reader, out io.Writer) error {
	var o traffic.Origin
	if err := o.Listen(addr); err != nil {
		return err
	}
	return process.Obey(in, out, func(string) (any, error) { return o.Seen(), nil })
}

func playMirror(addr, production netip.AddrPort, in io.Reader, out io.Writer) error {
	s, err := faulty.Listen(addr, traffic.AsSent)
	if err != nil {
		return err
	}
	defer s.Close()
	all := faulty.Faults(production)
	return process.Obey(in, out, func(line string) (any, error) {
		if line != "" {
			f := faulty.Named(all, line)
			if f == nil {
				return nil, errors.New("there is no such fault")
			}
			if err := s.Suffer(f); err != nil {
				return nil, err
			}
		}
		return s.Seen(), nil
	})
}
