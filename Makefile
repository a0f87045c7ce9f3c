.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

.PHONY: proto
proto: ## Regenerate the committed gRPC stubs
	$(BIN)/python -m grpc_tools.protoc -Iproto -I$$($(BIN)/python -c "import pathlib, google.api; print(pathlib.Path(next(iter(google.api.__path__))).parents[1])") \
	  --python_out=proto/gen/python --pyi_out=proto/gen/python --grpc_python_out=proto/gen/python \
	  proto/matting/v1/matting_service.proto
