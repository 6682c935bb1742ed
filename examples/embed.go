// SPDX-License-Identifier: Apache-2.0

// Package examples holds configuration that works as it is, and gives it to the demo and to tests. It runs nothing.
package examples

import "embed"

// Files are the examples' resources, by path: cross-cluster/a.yaml.
//
//go:embed */*.yaml
var Files embed.FS
