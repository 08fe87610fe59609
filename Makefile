# Two commands do all set-up on a bare Debian 12 machine with Rust and Python.
.PHONY: demo test bench fmt docs tidy clean-demo

demo: ## the main job, on a small shop: back up, drill, lose data, get it back
	@tools/setup demo
	@cargo build --locked --package recoup
	@tools/demo

test: ## everything that must hold
	@tools/setup test
	@tools/test

bench: ## recoup beside restic, rustic and borg on the same data; SCALE=small for a quick look
	@tools/setup bench
	@cargo build --locked --release --package recoup
	@tools/bench

fmt: ## format what is ours
	cargo fmt --all
	target/venv/bin/ruff format .

tidy: ## the rules of the house
	cargo xtask tidy

docs: ## the generated pages
	cargo xtask docs

clean-demo: ## what make demo left
	rm -rf .recoup-demo
