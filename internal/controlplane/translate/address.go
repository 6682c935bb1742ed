// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

const unixPrefix = "unix://"

func isUnix(address string) bool { return strings.HasPrefix(address, unixPrefix) }

// address checks an endpoint's address and gives it in its usual form: an IP, a host name in lower case, or unix:///path.
// It is false if there is nothing to dial.
func (p *report) address(path string, e *networking.WorkloadEntry) (string, bool) {
	address := e.GetAddress()
	ip, err := netip.ParseAddr(address)
	switch socket, unix := strings.CutPrefix(address, unixPrefix); {
	case err == nil && ip.Zone() == "":
		return ip.Unmap().String(), true
	case address == "" && e.GetNetwork() != "":
		p.warn(path, "write an address",
			"address is unset with network %q: there is no gateway to that network, the endpoint is left out", e.GetNetwork())
	case address == "":
		p.error(path, "write an IP address", "address is required")
	case unix && strings.HasPrefix(socket, "@"):
		p.unsupported(p.at(path), "abstract unix sockets are not implemented, and the address decides "+goes)
	case unix && (!strings.HasPrefix(socket, "/") || strings.HasSuffix(socket, "/")):
		p.error(path, "write unix:///path", "%s is not an absolute path to a file", socket)
	case unix && len(e.GetPorts()) > 0:
		p.error(path, "remove the ports", "unix endpoint %s must not include ports", address)
	case unix:
		return address, true
	case validHost(address) == "" && !strings.HasPrefix(address, "*") && !isNumber(address):
		return strings.ToLower(strings.TrimSuffix(address, ".")), true
	default:
		p.error(path, "write an IP address or a host name",
			"endpoint address %q is not a valid FQDN or an IP address", address)
	}
	return "", false
}

// isNumber tells whether s is a number: that is no name to look up.
func isNumber(s string) bool {
	_, err := strconv.Atoi(s)
	return err == nil
}

// workloadPorts checks the port numbers of an endpoint.
func (p *report) workloadPorts(path string, ports map[string]uint32) {
	for _, name := range slices.Sorted(maps.Keys(ports)) {
		if !validAnyLabel(name) {
			p.error(path+"["+name+"]", "use letters, digits and '-'", "invalid port name: %s", name)
		}
		if !validPort(int64(ports[name])) {
			p.error(path+"["+name+"]", "write a number from 1 to 65535", "port number %d must be in the range 1..65535",
				ports[name])
		}
	}
}

// localityLabel gives a locality where no field does; "." stands for "/" in it, which a label cannot have.
const localityLabel = "istio-locality"

// locality is region/zone/subzone of a workload.
func locality(field string, labels map[string]string) string {
	if field != "" {
		return field
	}
	return strings.ReplaceAll(labels[localityLabel], ".", "/")
}
