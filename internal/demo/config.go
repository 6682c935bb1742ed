// SPDX-License-Identifier: Apache-2.0

package demo

import (
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/umbra-mesh/umbra/examples"
)

//go:embed twin.yaml
var twin string

// What the example's files say where the demo takes ports of its own.
const (
	exampleWorkload = "http: 900" // 9001 in mesh A, 9002 in mesh B
	exampleGatewayB = "http: 8082"
)

// writeConfig writes the resources of both meshes into dir and returns the files of each.
func writeConfig(dir string, a, b meshConfig) (filesA, filesB []string, err error) {
	textA, err := example("a.yaml", exampleWorkload+"1", a.Workload, exampleGatewayB, b.Gateway)
	if err != nil {
		return nil, nil, err
	}
	textB, err := example("b.yaml", exampleWorkload+"2", b.Workload)
	if err != nil {
		return nil, nil, err
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		err = errors.Join(err, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	filesA = []string{write("a.yaml", textA), write("twin.yaml", twin)}
	filesB = []string{write("b.yaml", textB)}
	return filesA, filesB, err
}

// example is a file of the example with its ports replaced: pairs of what it says and the port.
func example(name string, pairs ...any) (string, error) {
	raw, err := examples.Files.ReadFile("cross-cluster/" + name)
	if err != nil {
		return "", err
	}
	text := string(raw)
	for i := 0; i < len(pairs); i += 2 {
		said := pairs[i].(string)
		if strings.Count(text, said) != 1 {
			return "", fmt.Errorf("example %s does not say %q once", name, said)
		}
		text = strings.Replace(text, said, fmt.Sprintf("http: %d", pairs[i+1]), 1)
	}
	return text, nil
}

// Ports are taken below those that the system gives to outgoing connections.
const (
	firstPort = 20000
	lastPort  = 32000
)

// freePorts returns n loopback ports that nobody listens on now.
func freePorts(n int) ([]uint16, error) {
	var ports []uint16
	for tries := 0; len(ports) < n; tries++ {
		port := uint16(firstPort + rand.IntN(lastPort-firstPort))
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			if tries == 100 {
				return nil, fmt.Errorf("find a free port: %w", err)
			}
			continue
		}
		defer l.Close() // all at once, so that none is found twice
		ports = append(ports, port)
	}
	return ports, nil
}
