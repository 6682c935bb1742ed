// SPDX-License-Identifier: Apache-2.0

//go:build !race

package model_test

// seeds is how many a plain go test runs: some seconds' worth.
const seeds = 100
