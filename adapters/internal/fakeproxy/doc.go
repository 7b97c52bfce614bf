// Package fakeproxy runs, for tests, proxies that say what the test wants them to say.
package fakeproxy
