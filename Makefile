# Builds tun2socks. CONTRIBUTING.md says how the library is tested: bash .ci/run.
#
#	make                  dist/tun2socks for this system
#	make release          archives for all systems below, with checksums, in dist/
#	make dist/tun2socks_linux_arm64.tar.gz    one of them

.DELETE_ON_ERROR:
.PHONY: all release clean dist/tun2socks

TARGETS := linux_amd64 linux_arm64 linux_armv7 linux_386 linux_mips linux_mipsle linux_riscv64 \
	darwin_amd64 darwin_arm64 windows_amd64 windows_arm64 freebsd_amd64 freebsd_arm64
ARCHIVES := $(foreach t,$(TARGETS),dist/tun2socks_$(t).$(if $(filter windows_%,$(t)),zip,tar.gz))

# One static binary: no C, no path of this machine, and the commit in -version. Without git: make VCS=auto.
VCS ?= true
BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=$(VCS) -ldflags "-s -w"
DOCS := LICENSE THIRD_PARTY_NOTICES examples/tun2socks/README.md examples/tun2socks/ROUTES.md examples/tun2socks/tun2socks.yaml examples/tun2socks/tun2socks.service
SOURCES := $(shell git ls-files '*.go' go.mod go.sum) $(DOCS)
WHEN := $(shell git log -1 --format=%cI)

all: dist/tun2socks

dist/tun2socks:
	$(BUILD) -o $@ ./examples/tun2socks

release: $(ARCHIVES)
	bash .ci/notices -check
	cd dist && sha256sum $(notdir $(ARCHIVES)) >SHA256SUMS

# tun2socks_OS_ARCH: armv7 is GOARCH=arm with GOARM=7; what has no floating point is built for that.
dist/tun2socks_%: $(SOURCES)
	@mkdir -p dist
	@os=$(word 1,$(subst _, ,$*)); arch=$(basename $(basename $(word 2,$(subst _, ,$*)))); dir=dist/$$os-$$arch/tun2socks; \
	rm -rf $$dir && mkdir -p $$dir && cp $(DOCS) $$dir/ && \
	GOOS=$$os GOARCH=$${arch%v7} GOARM=7 GOMIPS=softfloat $(BUILD) \
		-o $$dir/tun2socks$$([ $$os != windows ] || echo .exe) ./examples/tun2socks && \
	find $$dir -exec touch -d '$(WHEN)' {} + && \
	case $@ in \
	*.zip) (cd $$dir/.. && rm -f ../$(@F) && zip -q -X -r ../$(@F) tun2socks) ;; \
	*) tar -C $$dir/.. --sort=name --owner=0 --group=0 --numeric-owner -cf - tun2socks | gzip -n9 >$@ ;; \
	esac && rm -rf dist/$$os-$$arch

clean:
	rm -rf dist
