# Each target runs a script that also works alone.

.PHONY: help setup demo test servers bench faults soak coherence conformance fuzz lint browser

help:
	@echo 'make demo     start a private Redis and the storefront on it'
	@echo 'make test     run every test against real servers'
	@echo 'make servers  run every test on each server of a folder: SERVERS=DIR with DIR/NAME/redis-server'
	@echo 'make bench    measure the layers beside their baselines'
	@echo 'make faults   kill, stop and cut off Redis under load, and print what came of the requests'
	@echo 'make soak     ten minutes of load with a fault of Redis every ten seconds; SECONDS sets how long'
	@echo 'make coherence  look for values that are older than a purge, in four processes, under faults'
	@echo 'make fuzz     feed random bytes and fields to all parsers of foreign data'
	@echo 'make conformance  run the public HTTP cache tests against the caching proxy of the examples'
	@echo 'make lint     formatting, lints, docs, feature combinations, layout rules'
	@echo 'make browser  click through the storefront in a headless Chromium'

setup:
	@scripts/setup

demo:
	@scripts/demo

test:
	@scripts/test

servers:
	@scripts/servers

bench:
	@scripts/bench

faults:
	@scripts/faults

soak:
	@scripts/soak

coherence:
	@scripts/coherence

fuzz:
	@scripts/fuzz

conformance:
	@scripts/conformance

lint:
	@scripts/lint

browser:
	@scripts/browser
